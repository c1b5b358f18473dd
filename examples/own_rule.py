"""A relevance rule of one's own: ε in proportion to the layer's output.

The epsilon rule adds the same small number to every denominator. Montavon et al. (2019,
10.1007/978-3-030-28954-6_10, section 10.2, and the tutorial beside it) recommend for middle layers
an ε that grows with the layer: a fraction of the root mean square of its outputs. It absorbs weak
and contradictory contributions, whatever the scale of the layer.

Importing this module registers the rule. With the project's folder on the import path,

    PYTHONPATH=. lrpc compile --config examples/maskdino.yaml \\
        LRPC.PLUGINS '[examples.own_rule]' \\
        LRPC.RULES '[{role: linear, rule: epsilon_rms, factor: 0.05}]'

compiles a program with it, and `python examples/own_rule.py` shows what it does.
"""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules import register
from lrpc.rules.context import Context
from lrpc.rules.declaration import Declaration, Param
from lrpc.rules.linear import bias_of, transpose


def epsilon_rms(ctx: Context, node: Node, rule: Rule) -> None:
    """Emit R_x = x ⊙ f_Wᵀ(R_z / (z + e·sgn(z))), e = factor · rms(z)."""
    z = node.out
    s = ctx.divided(node, stabilised(ctx, z, rule.number("factor")), 0.0)
    if ctx.ledger:  # all that arrived, less what goes on: e's share, and apart from it the bias's
        ctx.absorb_all(node, "epsilon")
        ctx.absorb("epsilon", s, z, negative=True)
        if (bias := bias_of(ctx, node)) is not None:
            ctx.absorb("bias", s, bias)
    ctx.propagate(node.inputs[0], transpose(ctx, node, s))


def stabilised(ctx: Context, z: Value, factor: float) -> Value:
    """z + e·sgn(z), sgn(0) = +1; e for each image, from all entries of its z."""
    axes = tuple(range(1 - z.type.rank, 0))  # all but the batch, which comes first
    mean = ctx.op("mean", ctx.op("mul", z, z), dims=axes, keepdim=True)
    step = ctx.op("scale", ctx.op("sqrt", mean), by=factor)
    above = ctx.op("compare_scalar", z, kind="ge", value=0.0)
    return ctx.op("where", above, ctx.op("add", z, step), ctx.op("sub", z, step))


EPSILON_RMS = register(
    Declaration(
        "epsilon_rms",
        ("linear", "conv2d"),
        epsilon_rms,
        "R_x = x ⊙ f_Wᵀ(R_z / (z + e·sgn(z))), e = factor · √mean(z²)",
        "Montavon et al. 2019, section 10.2 (10.1007/978-3-030-28954-6_10)",
        "all but the bias's share and e's",
        (Param("factor", 0.1, low=0.0, meaning="e over the root mean square of an image's z"),),
    )
)


def main() -> None:
    """Compare it with the epsilon rule on a small network."""
    import torch
    from torch import nn

    import lrpc

    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten()),
        nn.Linear(128, 5),
    ).eval()
    x = torch.randn(4, 3, 8, 8)
    own = [{"module": "2", "rule": "epsilon_rms", "factor": 0.25}]
    composites = {"epsilon": "epsilon", "own": {"composite": "epsilon", "rules": own}}
    program = lrpc.compile(model, (x,), composite=composites)
    found = lrpc.compare(program, x, "output", at=[(1,)])
    for name in found.names:
        print(f"{name:8} sum of relevance {found.sums[name][0].tolist()}")
    print(f"rank correlation {found.spearman[0, 1, 0].tolist()}")


if __name__ == "__main__":
    main()
