"""Rules for linear maps: linear, convolution, transposed convolution, interpolation, pooling by
average, batch norm. Rules that take weights apart by sign are in `signed`, those that look at the
weights alone, or at the range of the input, in `boxed`."""

from __future__ import annotations

from dataclasses import replace

from lrpc.errors import RuleError
from lrpc.ir.graph import Node, Rule
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param
from lrpc.rules.maps import CHANNELS, MAGNITUDE, MAPS, ONES, apply, bias_of, entries, transpose

BIAS = Param(
    "bias",
    "absorb",
    words=("absorb", "excluded"),
    meaning="whether b takes its share of the relevance, or stays out of the denominator",
)


SPREAD = Param(
    "bias",
    "absorb",
    words=("absorb", "excluded", "spread"),
    meaning="whether b takes its share of the relevance, stays out of the denominator, or hands its"
    " share on to the inputs, equally",
)
HANDED = replace(
    SPREAD,
    words=(*SPREAD.words, "by_activation"),
    meaning=f"{SPREAD.meaning} or in proportion to |x w|",
)
FACTOR = Param(
    "bias_factor",
    1.0,
    low=0.0,
    high=1.0,
    meaning="δ, the part of b's share that `spread` and `by_activation` hand on",
    quiet=True,
)


def epsilon(ctx: Context, node: Node, rule: Rule) -> None:
    eps = rule.number("eps")
    if (how := rule.word("bias", "absorb")) in ("spread", "by_activation"):
        _handing_on(ctx, node, eps, rule.number("bias_factor", 1.0), how == "by_activation")
        return
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


def _handing_on(ctx: Context, node: Node, eps: float, factor: float, active: bool) -> None:
    """The ε rule; δ of the bias's share goes to all inputs that the output sees, in equal parts, or
    in proportion to the magnitudes of what they contribute."""
    s, x = ctx.per_output(node, eps), node.inputs[0]
    ctx.propagate(x, transpose(ctx, node, s))
    if (bias := bias_of(ctx, node)) is None:
        return
    ctx.absorb("bias", s, bias)
    if factor == 0:
        return
    weigh, change = (ctx.op("abs", x), MAGNITUDE) if active else (entries(ctx, node, 1.0), ONES)
    seen = apply(ctx, node, weigh, change)  # padding is not counted
    share = ctx.op("ratio", ctx.scaled(ctx.op("mul", s, bias), factor), seen, eps=0.0)
    given = transpose(ctx, node, share, change)
    if active:
        given = ctx.op("mul", given, weigh)
    ctx.absorb_relevance("bias", given, negative=True)
    ctx.propagate_relevance(x, given)


def contrast(ctx: Context, node: Node, rule: Rule) -> None:
    s, rank = ctx.per_output(node, rule.number("eps")), node.out.type.rank
    classes = -1 if node.op == "linear" else 1 - rank
    if node.out.type.shape[classes] != 1:  # one class has no others
        own = ctx.op("sub", s, ctx.op("mean", s, dims=(classes,), keepdim=True))
        if ctx.ledger:
            ctx.absorb("shared", ctx.op("sub", s, own), ctx.output(node))
        s = own
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
        "all but the bias's share and ε's; with `bias: spread` δ of that share goes to the n inputs"
        " that an output sees, b/n each (Lapuschkin et al. 2016, LRP toolbox); with `by_activation`"
        " b |x_i w_i| / Σ |x w|",
        (EPS, HANDED, FACTOR)),
    Declaration("contrast", CHANNELS, contrast,
        "R_x = x ⊙ (W − mean_c W)ᵀ(R_z / stab_ε(z)), c over the channels of z, which are classes",
        "the start of contrastive LRP (Gu et al. 2018, 1812.02100) against the mean of all classes,"
        " as a rule: weights that all classes share say that something is there, not what",
        "what sets a class apart from the others; the mean of all logits goes to sink `shared`",
        (EPS,)),
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
