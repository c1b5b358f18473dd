"""Rules for linear maps that hand out relevance by the weights alone or by the range of the input.

They give R itself: it is no multiple of x, and an x of 0 may hold relevance. They are meant for
the first map of a model.
"""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param
from lrpc.rules.linear import BIAS
from lrpc.rules.maps import (
    MAPS,
    NEGATIVE,
    ONES,
    POSITIVE,
    SQUARED,
    Change,
    apply,
    bias_of,
    entries,
    transpose,
)

LOW = Param(
    "low",
    None,
    many=True,
    meaning="the smallest value an input can have; (0 − mean)/std for images",
)
HIGH = Param(
    "high",
    None,
    many=True,
    meaning="the largest value an input can have; (1 − mean)/std for images",
)


def z_box(ctx: Context, node: Node, rule: Rule) -> None:
    x = node.inputs[0]
    low = entries(ctx, node, rule.numbers("low"))
    high = entries(ctx, node, rule.numbers("high"))
    bias = bias_of(ctx, node)
    z = ctx.output(node)
    pure = z if bias is None else ctx.op("sub", z, bias)  # b − b⁺ − b⁻ = 0
    below, above = apply(ctx, node, low, POSITIVE), apply(ctx, node, high, NEGATIVE)
    divisor = ctx.op("sub", pure, ctx.op("add", below, above))
    s = ctx.divided(node, divisor, rule.number("eps"))
    _book(ctx, node, s, divisor, None)
    own = ctx.op("mul", transpose(ctx, node, s), x)
    least = ctx.op("mul", transpose(ctx, node, s, POSITIVE), low)
    most = ctx.op("mul", transpose(ctx, node, s, NEGATIVE), high)
    ctx.propagate_relevance(x, ctx.op("sub", own, ctx.op("add", least, most)))


def w_square(ctx: Context, node: Node, rule: Rule) -> None:
    excluded = rule.word("bias", "absorb") == "excluded"
    _by_weights(ctx, node, rule, SQUARED, None if excluded else bias_of(ctx, node, SQUARED))


def flat(ctx: Context, node: Node, rule: Rule) -> None:
    _by_weights(ctx, node, rule, ONES, None)


def _by_weights(ctx: Context, node: Node, rule: Rule, change: Change, bias: Value | None) -> None:
    """R in proportion to the changed weights; padding is not counted, since no input is there."""
    divisor = apply(ctx, node, entries(ctx, node, 1.0), change)
    if bias is not None:
        divisor = ctx.op("add", divisor, bias)
    s = ctx.divided(node, divisor, rule.number("eps"))
    _book(ctx, node, s, divisor, bias)
    ctx.propagate_relevance(node.inputs[0], transpose(ctx, node, s, change))


def _book(ctx: Context, node: Node, s: Value, divisor: Value, bias: Value | None) -> None:
    if not ctx.ledger:
        return
    ctx.absorb_all(node, "epsilon")
    ctx.record("epsilon", s, divisor, negative=True)
    if bias is not None:
        ctx.absorb("bias", s, bias)


def _refuse_box(rule: Rule) -> str:
    low, high = rule.numbers("low"), rule.numbers("high")
    lows = low if isinstance(low, tuple) else (low,)
    highs = high if isinstance(high, tuple) else (high,)
    if len(lows) != len(highs) and 1 not in (len(lows), len(highs)):
        return f"{len(lows)} numbers for low, {len(highs)} for high"
    count = max(len(lows), len(highs))
    lows, highs = (each * count if len(each) == 1 else each for each in (lows, highs))
    wrong = [(a, b) for a, b in zip(lows, highs, strict=True) if a > b]
    return f"low={wrong[0][0]:g} is above high={wrong[0][1]:g}" if wrong else ""


DEEP_TAYLOR = "Montavon et al. 2017 (10.1016/j.patcog.2016.11.008)"
RULES = (
    Declaration("z_box", MAPS, z_box,
        "R_x = x ⊙ Wᵀs − l ⊙ W⁺ᵀs − h ⊙ W⁻ᵀs; s = R_z / stab_ε(Wx − W⁺l − W⁻h)",
        DEEP_TAYLOR,
        "all but ε's share; biases cancel", (LOW, HIGH, EPS), _refuse_box),
    Declaration("w_square", MAPS, w_square,
        "R_x = (W²)ᵀ(R_z / stab_ε(ΣW² + b²)), the sum over the inputs that an output sees",
        DEEP_TAYLOR,
        "all but b²'s share and ε's", (EPS, BIAS)),
    Declaration("flat", MAPS, flat,
        "R_x = 1ᵀ(R_z / stab_ε(n)), n the number of inputs that an output sees, padding aside",
        "Lapuschkin et al. 2019 (10.1038/s41467-019-08987-4)",
        "all but ε's share", (EPS,)),
)  # fmt: skip
