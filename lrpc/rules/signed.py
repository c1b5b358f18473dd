"""Rules for linear maps that favour weights or contributions of one sign: γ, αβ, z⁺.

Each is R_x = x ⊙ G for some G, found without a division by x: an entry of x that is above 0 sends
its relevance through other weights than one below. Where the graph alone says that x is nowhere
below 0, as behind a ReLU, the half for x⁻ is left out. γ takes one map of |x| and two transposes,
whatever the signs; behind a ReLU and where only a ReLU reads the output, which sends nothing back
to entries below 0, one of each.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param
from lrpc.rules.linear import BIAS
from lrpc.rules.maps import (
    MAGNITUDE,
    MAPS,
    NEGATIVE,
    POSITIVE,
    Change,
    apply,
    apply_whole,
    bias_of,
    not_negative,
    plus_positive,
    transpose,
)

GAMMA = Param("gamma", 0.25, low=0.0, meaning="γ, how much more positive parts count")
GAMMA_BIAS = Param(
    "bias",
    "scaled",
    words=("scaled", "kept", "excluded"),
    meaning="b + γb⁺, b, or nothing in the denominator",
)
ALPHA = Param("alpha", 2.0, low=1.0, meaning="α, the part of positive contributions")
BETA = Param("beta", 1.0, low=0.0, meaning="β, the part of negative contributions; α − β = 1")


@dataclass(frozen=True)
class Half:
    """z with other weights, for x above 0 (`above`) and below (`below`): D = f_above(x⁺) +
    f_below(x⁻) + bias."""

    above: Change
    below: Change
    bias: Value | None


def _half(ctx: Context, node: Node, rule: Rule, above: Change, below: Change) -> Half:
    excluded = rule.word("bias", "absorb") == "excluded"
    return Half(above, below, None if excluded else bias_of(ctx, node, above))


def _denominator(ctx: Context, node: Node, half: Half, x: Value) -> Value:
    """D, in the dtype of x, which is the input or the same in float32."""
    if not_negative(ctx, node.inputs[0]):
        parts = [apply(ctx, node, x, half.above)]
    else:
        parts = [
            apply(ctx, node, ctx.op("relu", x), half.above),
            apply(ctx, node, ctx.op("clamp", x, max=0.0), half.below),
        ]
    return ctx.total(parts if half.bias is None else [*parts, half.bias])


def _give(ctx: Context, node: Node, parts: list[tuple[Half, Value]]) -> None:
    ctx.propagate(node.inputs[0], _back(ctx, node, parts))


def _back(ctx: Context, node: Node, parts: list[tuple[Half, Value]]) -> Value:
    """Σ f_halfᵀ(s), for the x above 0 and for those below."""
    x = node.inputs[0]
    above = ctx.total([transpose(ctx, node, s, half.above) for half, s in parts])
    if not_negative(ctx, x):
        return above
    below = ctx.total([transpose(ctx, node, s, half.below) for half, s in parts])
    positive = ctx.op("compare_scalar", x, kind="gt", value=0.0)
    return ctx.op("choose", positive, above, below)


def _book(ctx: Context, node: Node, parts: list[tuple[Half, Value, Value]]) -> None:
    """What did not go on: the biases' shares of s ⊙ D, and all that s ⊙ D is not."""
    if not ctx.ledger:
        return
    ctx.absorb_all(node, "epsilon")
    for half, s, divisor in parts:
        ctx.record("epsilon", s, divisor, negative=True)
        if half.bias is not None:
            ctx.absorb("bias", s, half.bias)


def _book_lost(ctx: Context, node: Node, divisor: Value, share: float) -> None:
    """Of what sink `epsilon` has, the share of a half that nothing contributes to: sink `sign`."""
    if not ctx.ledger:
        return
    none = ctx.op("compare_scalar", divisor, kind="eq", value=0.0)
    came = ctx.arrived(node)
    if came.g is not None:
        lost = ctx.scaled(ctx.op("gate", came.g, none), share)
        ctx.absorb("sign", lost, node.out)
        ctx.absorb("epsilon", lost, node.out, negative=True)
    if came.r is not None:
        lost = ctx.scaled(ctx.op("gate", came.r, none), share)
        ctx.absorb_relevance("sign", lost)
        ctx.absorb_relevance("epsilon", lost, negative=True)


def gamma(ctx: Context, node: Node, rule: Rule) -> None:
    factor, x = rule.number("gamma"), node.inputs[0]
    if factor and not (ctx.nothing_below_zero(node) and not_negative(ctx, x)):
        _by_magnitudes(ctx, node, rule, factor)
        return
    change = plus_positive(factor)
    half = _half(ctx, node, rule, change, change)
    kept = ctx.output(node)
    divisor = _denominator(ctx, node, half, x) if factor else _without_bias(ctx, node, kept, rule)
    s = _share(ctx, node, kept, divisor, rule.number("eps"))
    _book(ctx, node, [(half, s, divisor)])
    ctx.propagate(x, transpose(ctx, node, s, change))


def _by_magnitudes(ctx: Context, node: Node, rule: Rule, factor: float) -> None:
    """γ for inputs or outputs of both signs, with |W| in place of W⁺ and W⁻.

    With A = |W||x| + |b|, W⁺x⁺ + W⁻x⁻ + b⁺ = (z + A)/2 and W⁻x⁺ + W⁺x⁻ + b⁻ = (z − A)/2. So the
    denominators are 1 + γ/2 times D = z + κ sign(z) A, κ = γ/(2 + γ), and what goes back is
    Wᵀc + κ sign(x) ⊙ |W|ᵀ(sign(z) ⊙ c), c = R_z / stab(D), with ε over 1 + γ/2 as well.
    """
    x, share = node.inputs[0], factor / (2 + factor)
    one_sign = not_negative(ctx, x)
    z, signs = ctx.output(node), None  # κ sign(z), or None where it is κ
    if not ctx.nothing_below_zero(node):
        signs = ctx.scaled(ctx.op("abs_ratio", z), share)
    absorbed = rule.word("bias", "absorb") != "excluded"
    size = x if one_sign else ctx.op("abs", x)
    size = (apply_whole if absorbed else apply)(ctx, node, size, MAGNITUDE)
    divisor = _plus(ctx, _without_bias(ctx, node, z, rule), size, signs, share)
    c = _share(ctx, node, z, divisor, rule.number("eps") / (1 + factor / 2))
    if ctx.ledger:
        ctx.absorb_all(node, "epsilon")
        ctx.record("epsilon", c, divisor, negative=True)
        if absorbed and (bias := bias_of(ctx, node)) is not None:
            ctx.absorb("bias", c, _plus(ctx, bias, ctx.op("abs", bias), signs, share))
    sized = c if signs is None else ctx.op("mul", c, signs)
    sized, share = transpose(ctx, node, sized, MAGNITUDE), share if signs is None else 1.0
    ways = None if one_sign else ctx.scaled(ctx.op("abs_ratio", x), share)
    ctx.propagate(x, _plus(ctx, transpose(ctx, node, c), sized, ways, share))


def _plus(ctx: Context, a: Value, size: Value, signs: Value | None, share: float) -> Value:
    """a + signs ⊙ size, or a + share · size where there are none to say."""
    if signs is None:
        return ctx.op("add", a, ctx.scaled(size, share))
    return ctx.op("add_product", a, size, signs)


def _without_bias(ctx: Context, node: Node, z: Value, rule: Rule) -> Value:
    """`z`, the output, less the bias where that stays out of the denominator."""
    if rule.word("bias", "absorb") != "excluded" or (bias := bias_of(ctx, node)) is None:
        return z
    return ctx.op("sub", z, bias)


def _share(ctx: Context, node: Node, kept: Value, divisor: Value, eps: float) -> Value:
    """R / stab_ε(divisor), and 0 where `kept`, the output or 0, is 0."""
    came = ctx.arrived(node)
    parts = []
    if came.g is not None:
        parts.append(ctx.op("mul", came.g, ctx.op("ratio", kept, divisor, eps=eps)))
    if came.r is not None:
        something = ctx.op("compare_scalar", kept, kind="ne", value=0.0)
        r = ctx.op("gate", came.r, something)
        parts.append(ctx.op("ratio", r, divisor, eps=eps))
    return ctx.total(parts)


def _where(ctx: Context, node: Node, kept: Value, divisor: Value, eps: float) -> Value:
    """R / stab_ε(divisor), and 0 where `kept` is false."""
    came = ctx.arrived(node)
    parts = []
    if came.g is not None:
        own = ctx.op("gate", ctx.output(node), kept)
        parts.append(ctx.op("mul", came.g, ctx.op("ratio", own, divisor, eps=eps)))
    if came.r is not None:
        parts.append(ctx.op("ratio", ctx.op("gate", came.r, kept), divisor, eps=eps))
    return ctx.total(parts)


def gamma_weight(ctx: Context, node: Node, rule: Rule) -> None:
    eps, change = rule.number("eps"), plus_positive(rule.number("gamma"))
    words = {"scaled": bias_of(ctx, node, change), "kept": bias_of(ctx, node), "excluded": None}
    half = Half(change, change, words[rule.word("bias", "scaled")])
    x = node.inputs[0]
    divisor = apply(ctx, node, x, change)
    if half.bias is not None:
        divisor = ctx.op("add", divisor, half.bias)
    s = ctx.divided(node, divisor, eps)
    _book(ctx, node, [(half, s, divisor)])
    ctx.propagate(x, transpose(ctx, node, s, change))


def alpha_beta(ctx: Context, node: Node, rule: Rule) -> None:
    _alpha_beta(ctx, node, rule, rule.number("alpha"), rule.number("beta"))


def z_plus(ctx: Context, node: Node, rule: Rule) -> None:
    _alpha_beta(ctx, node, rule, 1.0, 0.0)


def _alpha_beta(ctx: Context, node: Node, rule: Rule, alpha: float, beta: float) -> None:
    halves = [(_half(ctx, node, rule, POSITIVE, NEGATIVE), alpha)]
    if beta:
        halves.append((_half(ctx, node, rule, NEGATIVE, POSITIVE), -beta))
    if node.out.type.dtype == "f16":  # which has no room for R / ε
        _in_f32(ctx, node, rule, halves)
        return
    parts = []
    for half, share in halves:
        divisor = _denominator(ctx, node, half, node.inputs[0])
        # Nothing of this sign contributes: R / ε would meet zeros only, and may be infinite.
        some = ctx.op("compare_scalar", divisor, kind="ne", value=0.0)
        s = _where(ctx, node, some, divisor, rule.number("eps"))
        parts.append((half, ctx.scaled(s, share), divisor))
    _book(ctx, node, parts)
    for (_, share), (_, _, divisor) in zip(halves, parts, strict=True):
        _book_lost(ctx, node, divisor, share)
    _give(ctx, node, [(half, s) for half, s, _ in parts])


def _in_f32(ctx: Context, node: Node, rule: Rule, halves: list[tuple[Half, float]]) -> None:
    """The same in float32, passed on as relevance itself."""
    x, r = ctx.wide(node.inputs[0]), ctx.wide_relevance(node)
    parts = []
    for half, share in halves:
        divisor = _denominator(ctx, node, half, x)
        s = ctx.scaled(ctx.op("ratio", r, divisor, eps=rule.number("eps")), share)
        parts.append((half, s, divisor))
    back = ctx.op("mul", _back(ctx, node, [(half, s) for half, s, _ in parts]), x)
    given = ctx.narrow(back, "f16")
    if ctx.ledger:
        ctx.absorb_all(node, "epsilon")
        for half, s, _ in parts:
            if half.bias is not None:
                bias = ctx.wide(half.bias)
                ctx.absorb("bias", s, bias)
                ctx.record("epsilon", s, bias, negative=True)
        ctx.absorb_relevance("epsilon", given, negative=True)
    ctx.propagate_relevance(node.inputs[0], given)


def _refuse_shares(rule: Rule) -> str:
    alpha, beta = rule.number("alpha"), rule.number("beta")
    if abs(alpha - beta - 1) <= 1e-12 * alpha:
        return ""
    return (
        f"alpha={alpha:g} and beta={beta:g}, but alpha − beta must be 1: positive contributions get"
        " α times the relevance and negative ones −β times, which together must be all of it"
    )


RULES = (
    Declaration("gamma", MAPS, gamma,
        "R_x = x⁺ ⊙ [(W+γW⁺)ᵀs₊ + (W+γW⁻)ᵀs₋] + x⁻ ⊙ [(W+γW⁻)ᵀs₊ + (W+γW⁺)ᵀs₋];"
        " s₊ = 1[z>0] R_z / stab_ε((W+γW⁺)x⁺ + (W+γW⁻)x⁻ + b + γb⁺),"
        " s₋ = 1[z<0] R_z / stab_ε((W+γW⁻)x⁺ + (W+γW⁺)x⁻ + b + γb⁻)",
        "Montavon et al. 2019 (10.1007/978-3-030-28954-6_10); Andéol et al. 2021 for"
        " inputs of both signs",
        "all but the bias's share, ε's, and relevance on outputs that are exactly 0 (sink"
        " `epsilon`)",
        (GAMMA, EPS, BIAS)),
    Declaration("gamma_weight", MAPS, gamma_weight,
        "R_x = x ⊙ (W+γW⁺)ᵀ(R_z / stab_ε((W+γW⁺)x + b + γb⁺)), whatever the sign of x",
        "Montavon et al. 2019 (10.1007/978-3-030-28954-6_10), eq. for γ; stated for x ≥ 0 alone",
        "all but the bias's share and ε's", (GAMMA, EPS, GAMMA_BIAS)),
    Declaration("alpha_beta", MAPS, alpha_beta,
        "R_x = α [x⁺ ⊙ W⁺ᵀp + x⁻ ⊙ W⁻ᵀp] − β [x⁺ ⊙ W⁻ᵀn + x⁻ ⊙ W⁺ᵀn];"
        " p = R_z / stab_ε(W⁺x⁺ + W⁻x⁻ + b⁺), n = R_z / stab_ε(W⁻x⁺ + W⁺x⁻ + b⁻)",
        "Bach et al. 2015, eq. 60 (10.1371/journal.pone.0130140)",
        "all but b⁺'s and b⁻'s shares and ε's; an output without contributions of one sign loses"
        " that sign's part to sink `sign`",
        (ALPHA, BETA, EPS, BIAS), _refuse_shares),
    Declaration("z_plus", MAPS, z_plus,
        "R_x = x⁺ ⊙ W⁺ᵀp + x⁻ ⊙ W⁻ᵀp; p = R_z / stab_ε(W⁺x⁺ + W⁻x⁻ + b⁺)",
        "Montavon et al. 2017 (10.1016/j.patcog.2016.11.008); alpha_beta with α = 1, β = 0",
        "all but b⁺'s share and ε's; an output without positive contributions loses all to sink"
        " `sign`",
        (EPS, BIAS)),
)  # fmt: skip
