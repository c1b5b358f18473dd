"""Rules for the sampling map of multi-scale deformable attention: o = Σ A · bilinear(V, loc)."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param

SHARE = Param("share", 0.5, 0.0, 1.0, meaning="ρ, the part that goes to the attention weights A")


def _to_value(ctx: Context, node: Node, s: Value, part: float) -> None:
    value, loc, weight = node.inputs
    flat = ctx.op("deform_splat", s, loc, weight, levels=node.attr("levels"))
    ctx.give(value, ctx.scaled(flat, part))


def _to_weight(ctx: Context, node: Node, s: Value, part: float) -> None:
    value, loc, weight = node.inputs
    flat = ctx.op("deform_weight_transpose", s, value, loc, levels=node.attr("levels"))
    ctx.give(weight, ctx.scaled(flat, part))


def value(ctx: Context, node: Node, rule: Rule) -> None:
    _to_value(ctx, node, ctx.stabilised(ctx.g(node), node.out, rule.number("eps")), 1.0)


def value_and_weights(ctx: Context, node: Node, rule: Rule) -> None:
    s = ctx.stabilised(ctx.g(node), node.out, rule.number("eps"))
    share = rule.number("share")
    if share > 0:
        _to_weight(ctx, node, s, share)
    if share < 1:
        _to_value(ctx, node, s, 1 - share)


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g, (value, loc, weight) = ctx.g(node), node.inputs
    _to_value(ctx, node, g, 1.0)
    _to_weight(ctx, node, g, 1.0)
    ctx.record("rescale", g, node.out, negative=True)  # linear in V and in A: counted twice
    if ctx.carries(loc):
        levels = node.attr("levels")
        back = ctx.op("deform_location_transpose", g, value, loc, weight, levels=levels)
        ctx.give(loc, back)
        ctx.record("rescale", back, loc, negative=True)


OPS = ("deform_sample",)
RULES = (
    Declaration(
        "value",
        OPS,
        value,
        "R_V = V ⊙ Mᵀ(R_o / stab_ε(o)), M the sampling map with A, loc fixed",
        "epsilon rule of that map; sampling: Zhu et al. 2021, eq. 3 (2010.04159)",
        "all but ε's share",
        (EPS,),
    ),
    Declaration(
        "value_and_weights",
        OPS,
        value_and_weights,
        "ρ of it to A, on through softmax to the query; 1 − ρ to V",
        "uniform rule, Achtibat et al. 2024, proposition 3.3 (2402.05602)",
        "all but ε's share",
        (SHARE, EPS),
    ),
    Declaration(
        "gradient_input",
        OPS,
        gradient_input,
        "R = x ⊙ ∂f/∂x for V, A and the locations",
        "Shrikumar et al. 2016 (1605.01713)",
        "doubles: sink `rescale` holds the excess",
    ),
)
