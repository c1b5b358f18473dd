"""Rules for sampling at a grid of places: z = M(grid) x, linear in x."""

from __future__ import annotations

from typing import Any

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration
from lrpc.rules.deformable import LOCATED


def _to_value(ctx: Context, node: Node, s: Value, part: float) -> None:
    x, grid = node.inputs
    attrs: dict[str, Any] = dict(node.attrs) | {"size": x.type.shape[2:]}
    back = ctx.op("grid_sample_transpose", s, grid, **attrs)
    ctx.propagate(x, ctx.scaled(back, part))


def _to_locations(ctx: Context, node: Node, s: Value) -> Value:
    attrs: dict[str, Any] = dict(node.attrs)
    return ctx.op("grid_sample_location_transpose", s, *node.inputs, **attrs)


def value(ctx: Context, node: Node, rule: Rule) -> None:
    _to_value(ctx, node, ctx.per_output(node, rule.number("eps")), 1.0)


def locations(ctx: Context, node: Node, rule: Rule) -> None:
    s, grid, share = ctx.per_output(node, rule.number("eps")), node.inputs[1], rule.number("share")
    if share < 1:
        _to_value(ctx, node, s, 1 - share)
    if share > 0:
        part = ctx.scaled(s, share)
        back = _to_locations(ctx, node, part)
        ctx.absorb("rescale", part, node.out)
        ctx.absorb("rescale", back, grid, negative=True)
        ctx.propagate(grid, back)


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g, grid = ctx.per_output(node, 0.0), node.inputs[1]
    _to_value(ctx, node, g, 1.0)
    if ctx.carries(grid):
        back = _to_locations(ctx, node, g)
        ctx.propagate(grid, back)
        ctx.record("rescale", back, grid, negative=True)


OPS = ("grid_sample",)
RULES = (
    Declaration("value", OPS, value,
        "R_x = x ⊙ Mᵀ(R_z / stab_ε(z)), M the sampling at a fixed grid",
        "epsilon rule of that map; sampling: Jaderberg et al. 2015, eq. 3 (1506.02025)",
        "all but ε's share", (EPS,)),
    Declaration("locations", OPS, locations,
        "1 − ρ of it to x; first-order term ρ grid ⊙ (∂z/∂grid)ᵀ(R_z / stab_ε(z)) to the places",
        "first-order Taylor term of the sampling, Jaderberg et al. 2015, eqs. 6, 7 (1506.02025)",
        "all of x's part; sink `rescale` holds what the first-order term lacks of ρ",
        (LOCATED, EPS)),
    Declaration("gradient_input", OPS, gradient_input,
        "R = v ⊙ ∂f/∂v for x and the grid",
        "Shrikumar et al. 2016 (1605.01713)",
        "not conserved: sink `rescale` holds what the grid takes beyond x"),
)  # fmt: skip
