"""Rules for linear maps: linear, convolution, transposed convolution, interpolation, pooling by
average, batch norm. Rules that take weights apart by sign are in `signed`, those that look at the
weights alone, or at the range of the input, in `boxed`."""

from __future__ import annotations

from lrpc.errors import RuleError
from lrpc.ir.graph import Node, Rule
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param
from lrpc.rules.maps import MAPS, bias_of, transpose

BIAS = Param(
    "bias",
    "absorb",
    words=("absorb", "excluded"),
    meaning="whether b takes its share of the relevance, or stays out of the denominator",
)


def epsilon(ctx: Context, node: Node, rule: Rule) -> None:
    eps = rule.number("eps")
    if rule.word("bias", "absorb") == "excluded" and (bias := bias_of(ctx, node)) is not None:
        pure = ctx.op("sub", ctx.output(node), bias)
        s = ctx.divided(node, pure, eps)
        if ctx.ledger:
            ctx.absorb_all(node, "epsilon")
            ctx.record("epsilon", s, pure, negative=True)
    else:
        s = ctx.per_output(node, eps)
        if ctx.ledger and (bias := bias_of(ctx, node)) is not None:
            ctx.absorb("bias", s, bias)
    ctx.propagate(node.inputs[0], transpose(ctx, node, s))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g = ctx.per_output(node, 0.0)
    if ctx.ledger and (bias := bias_of(ctx, node)) is not None:
        ctx.absorb("bias", g, bias)
    ctx.propagate(node.inputs[0], transpose(ctx, node, g))


def passing(ctx: Context, node: Node, rule: Rule) -> None:
    x = node.inputs[0]
    if x.type.shape != node.out.type.shape:
        raise RuleError(
            f"rule pass needs an output of its input's shape, but {node.op} at {node.loc} makes"
            f" {node.out.type} of {x.type}; choose another rule for it"
        )
    ctx.propagate_relevance(x, ctx.narrow(ctx.wide_relevance(node), x.type.dtype))


RULES = (
    Declaration("epsilon", MAPS, epsilon,
        "R_x = x ⊙ f_Wᵀ(R_z / stab_ε(f_W(x) + b))",
        "Bach et al. 2015, eq. 58 (10.1371/journal.pone.0130140)",
        "all but the bias's share and ε's", (EPS, BIAS)),
    # An interpolation to the same size is dropped.
    Declaration("pass", tuple(op for op in MAPS if op != "interpolate"), passing,
        "R_x = R_z; input and output have one shape",
        "the map is left out: batch norm in zennit's composites, projections in splatting",
        "all"),
    Declaration("gradient_input", MAPS, gradient_input,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "nothing is redistributed; equals epsilon at ε = 0 on one linear map"),
)  # fmt: skip
