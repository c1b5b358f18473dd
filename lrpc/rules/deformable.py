"""Rules for the sampling map of multi-scale deformable attention: o = Σ A · bilinear(V, loc)."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.ir.types import K
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param

LOCATED = Param("share", 0.5, 0.0, 1.0, meaning="ρ, the part that goes to the locations")
SHARE = Param("share", 0.5, 0.0, 1.0, meaning="ρ, the part that goes to the attention weights A")


def _to_value(ctx: Context, node: Node, s: Value, part: float) -> None:
    value, loc, weight = node.inputs
    flat = ctx.op("deform_splat", s, loc, weight, levels=node.attr("levels"))
    ctx.propagate(value, ctx.scaled(flat, part))


def _to_weight(ctx: Context, node: Node, s: Value, part: float) -> None:
    value, loc, weight = node.inputs
    flat = ctx.op("deform_weight_transpose", s, value, loc, levels=node.attr("levels"))
    ctx.propagate(weight, ctx.scaled(flat, part))


def value(ctx: Context, node: Node, rule: Rule) -> None:
    _to_value(ctx, node, ctx.per_output(node, rule.number("eps")), 1.0)


def value_and_weights(ctx: Context, node: Node, rule: Rule) -> None:
    s = ctx.per_output(node, rule.number("eps"))
    share = rule.number("share") if ctx.carries(node.inputs[2]) else 0.0  # constants get none
    if share > 0:
        _to_weight(ctx, node, s, share)
    if share < 1:
        _to_value(ctx, node, s, 1 - share)


def locations(ctx: Context, node: Node, rule: Rule) -> None:
    s, (value, loc, weight) = ctx.per_output(node, rule.number("eps")), node.inputs
    share = rule.number("share")
    if share < 1:
        _to_value(ctx, node, s, 1 - share)
    if share > 0:
        part = ctx.scaled(s, share)
        levels = node.attr("levels")
        back = ctx.op("deform_location_transpose", part, value, loc, weight, levels=levels)
        ctx.absorb("rescale", part, node.out)
        ctx.absorb("rescale", back, loc, negative=True)
        ctx.propagate(loc, back)


def splat(ctx: Context, node: Node, rule: Rule) -> None:
    ctx.hand_out(node, "rescale", (node.inputs[0], _spread(ctx, node), ""))


def splat_value(ctx: Context, node: Node, rule: Rule) -> None:
    value = node.inputs[0]
    size = ctx.op("mean", ctx.op("abs", ctx.wide(value)), dims=(-2, -1), keepdim=True)
    spread = ctx.op("mul", _spread(ctx, node), size)
    total = ctx.op("sum", spread, dims=(-3, -2, -1), keepdim=True)
    arrived = ctx.op("sum", ctx.wide_relevance(node), dims=(-2, -1), keepdim=True)
    arrived = ctx.reshape(arrived, total.type.shape)
    scale = ctx.op("ratio", arrived, total, eps=rule.number("eps"))
    ctx.hand_out(node, "epsilon", (value, ctx.op("mul", spread, scale), ""))


def _spread(ctx: Context, node: Node) -> Value:
    """(1/H) Σ R_o · A · bilinear on every row of the value, per channel."""
    value, loc, weight = node.inputs
    r = ctx.wide_relevance(node)
    flat = ctx.op("deform_spread", r, loc, weight, levels=node.attr("levels"))
    return ctx.reshape(flat, (K, *value.type.shape))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g, (value, loc, weight) = ctx.per_output(node, 0.0), node.inputs
    _to_value(ctx, node, g, 1.0)
    _to_weight(ctx, node, g, 1.0)
    ctx.record("rescale", g, node.out, negative=True)  # linear in V and in A: counted twice
    if ctx.carries(loc):
        levels = node.attr("levels")
        back = ctx.op("deform_location_transpose", g, value, loc, weight, levels=levels)
        ctx.propagate(loc, back)
        ctx.record("rescale", back, loc, negative=True)


OPS = ("deform_sample",)
RULES = (
    Declaration("value", OPS, value,
        "R_V = V ⊙ Mᵀ(R_o / stab_ε(o)), M the sampling map with A, loc fixed",
        "epsilon rule of that map; sampling: Zhu et al. 2021, eq. 3 (2010.04159)",
        "all but ε's share", (EPS,)),
    Declaration("value_and_weights", OPS, value_and_weights,
        "ρ of it to A, on through softmax to the query; 1 − ρ to V; all to V where A is constant",
        "uniform rule, Achtibat et al. 2024, proposition 3.3 (2402.05602)",
        "all but ε's share", (SHARE, EPS)),
    Declaration("locations", OPS, locations,
        "1 − ρ of it to V; first-order term ρ loc ⊙ (∂o/∂loc)ᵀ(R_o / stab_ε(o)) to the sampling"
        " locations, on to the offsets and the query",
        "first-order Taylor term of the sampling, Zhu et al. 2021, eq. 3 (2010.04159)",
        "all of V's part; sink `rescale` holds what the first-order term lacks of ρ",
        (LOCATED, EPS)),
    Declaration("splat", OPS, splat,
        "R_src = (1/H) Σ R_out · A · bilinear, per channel, corners outside a map moved onto its"
        " border; the value and output projections pass relevance unchanged",
        "splatting of relevance by where it was sampled, without values",
        "all where Σ A = 1; sink `rescale` holds the difference"),
    Declaration("splat_value", OPS, splat_value,
        "R_src = u / stab_ε(Σ u) · ΣR_out, u = splat ⊙ mean |V| of the token; projections as there",
        "splatting weighted by the size of the values",
        "all but ε's share", (EPS,)),
    Declaration("gradient_input", OPS, gradient_input,
        "R = x ⊙ ∂f/∂x for V, A and the locations",
        "Shrikumar et al. 2016 (1605.01713)",
        "doubles: sink `rescale` holds the excess"),
)  # fmt: skip
