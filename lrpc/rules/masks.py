"""What a masked score is: a number that stands for minus infinity, and no activation."""

from __future__ import annotations

import math
from typing import Any

import torch

from lrpc.ir.graph import Node, Value
from lrpc.ir.ops import TABLE, Trait, views, with_trait
from lrpc.rules.context import Context

MOVES = views()
UNARY = frozenset(
    name
    for name in with_trait(Trait.ELEMENTWISE)
    if TABLE[name].arity == 1 and "weight" not in TABLE[name].attrs.values()
)
HIDES = -1e30
"""At or below this a score is masked: softmax leaves nothing of it, and no relevance goes there."""


def hides(value: float) -> bool:
    """Whether filling with `value` is masking."""
    return value <= HIDES


def mask_of(ctx: Context, x: Value) -> Node | None:
    """What masked the scores `x`, if anything did."""
    made = ctx.graph.producers.get(x.name)
    while made is not None and made.op == "cast":
        made = ctx.graph.producers.get(made.inputs[0].name)
    masking = made is not None and made.op == "masked_fill" and hides(made.number("value"))
    return made if masking else None


def hidden(ctx: Context, x: Value) -> Value | None:
    """Booleans like `x`, true where it is masked: filled with minus infinity, then moved, scaled or
    put through functions that leave infinity infinite. None where nothing is."""
    made = ctx.graph.producers.get(x.name)
    if made is None or not made.inputs:
        return None
    if made.op == "masked_fill" and hides(made.number("value")):
        mask, shape = made.inputs[1], x.type.shape
        return mask if mask.type.shape == shape else ctx.op("expand", mask, shape=shape)
    if made.op in MOVES:
        before = hidden(ctx, made.inputs[0])
        attrs: dict[str, Any] = dict(made.attrs)
        return None if before is None else ctx.op(made.op, before, **attrs)
    return hidden(ctx, made.inputs[0]) if _keeps_infinity(made) else None


def _keeps_infinity(made: Node) -> bool:
    if made.op not in UNARY:
        return False
    ends = TABLE[made.op].reference(torch.tensor(-math.inf), **dict(made.attrs))
    return math.isinf(float(ends))


def shown(ctx: Context, node: Node, g: Value) -> Value:
    """`g` per unit of a function's result, 0 where its argument is masked.

    f(−∞) is no share of an argument's: what arrives there belongs to the mask, sink `bias`.
    """
    if (mask := hidden(ctx, node.inputs[0])) is None or _keeps_infinity(node):
        return g
    kept = ctx.op("masked_fill", g, mask, value=0.0)
    if ctx.ledger:
        ctx.absorb("bias", ctx.op("sub", g, kept), node.out)
    return kept
