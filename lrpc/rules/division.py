"""Division by data of the map, or by an activation."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule
from lrpc.rules.context import Context
from lrpc.rules.declaration import Declaration

OPS = ("div",)


def passing(ctx: Context, node: Node, rule: Rule) -> None:
    a, b = node.inputs
    came = ctx.arrived(node)
    kind = "detached" if ctx.carries(b) else ""  # of a constant over x, x is what was detached
    if came.g is not None:
        ctx.propagate(a, ctx.op("div", came.g, b), kind)
    if came.r is not None:
        ctx.propagate_relevance(a, came.r, kind)


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    a, b = node.inputs
    g = ctx.per_output(node, 0.0)
    per_numerator = ctx.op("div", g, b)
    if not ctx.carries(b):
        ctx.propagate(a, per_numerator)
        return
    parts = [(b, ctx.scaled(ctx.op("mul", per_numerator, node.out), -1.0))]
    if ctx.carries(a):
        parts.append((a, per_numerator))
    ctx.absorb_all(node, "rescale")
    for value, back in parts:
        ctx.record("rescale", back, value, negative=True)
        ctx.propagate(value, back)


RULES = (
    Declaration("pass", OPS, passing,
        "z = a / b: R_a = R_z, G_a = G_z / b; b normalises and is taken as constant, R_b = 0",
        "Achtibat et al. 2024 on normalisation (2402.05602)",
        "all; of a constant over an activation all goes to sink `detached`"),
    Declaration("gradient_input", OPS, gradient_input,
        "R_a = a ⊙ G_z / b, R_b = −b ⊙ a / b² ⊙ G_z",
        "Shrikumar et al. 2016 (1605.01713)",
        "all by a constant; by an activation both shares cancel, sink `rescale`"),
)  # fmt: skip
