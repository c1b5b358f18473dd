"""Rules for softmax over its own dimension."""

from __future__ import annotations

import math

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import Declaration


def taylor(ctx: Context, node: Node, rule: Rule) -> None:
    g, s, x = ctx.g(node), node.out, node.inputs[0]
    back = ctx.op("softmax_transpose", g, s, dim=node.attr("dim"))
    if ctx.ledger:
        ctx.lose("softmax", g, s)
        ctx.record("softmax", back, _finite(ctx, x), negative=True)
    ctx.give(x, back)


def _finite(ctx: Context, x: Value) -> Value:
    """`x` with masked scores (−inf), which receive nothing, as 0."""
    producer = ctx.graph.producers.get(x.name)
    if producer is None or producer.op != "masked_fill" or math.isfinite(producer.number("value")):
        return x
    return ctx.op("masked_fill", x, producer.inputs[1], value=0.0)


def detach(ctx: Context, node: Node, rule: Rule) -> None:
    ctx.lose("detached", ctx.g(node), node.out)


RULES = (
    Declaration(
        "taylor",
        ("softmax",),
        taylor,
        "R_x = x ⊙ (R − s ΣR); G-form: the softmax gradient",
        "Achtibat et al. 2024, proposition 3.1 (2402.05602)",
        "not conserving: sink `softmax` holds the difference",
    ),
    Declaration(
        "gradient_input",
        ("softmax",),
        taylor,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "not conserving: sink `softmax`",
    ),
    Declaration(
        "detach",
        ("softmax",),
        detach,
        "R_x = 0",
        "Ali et al. 2022 (2202.07304)",
        "what arrives goes to sink `detached`",
    ),
)
