"""Ops that only move or select entries: exact transposes, nothing gained or lost."""

from __future__ import annotations

import math
from collections.abc import Callable

from lrpc.errors import RuleError
from lrpc.ir.graph import Node, Rule, Value
from lrpc.ir.types import K
from lrpc.rules.context import Context
from lrpc.rules.declaration import Declaration


def extent(x: Value, dim: int) -> int:
    """The size of an axis that is not symbolic."""
    size = x.type.shape[dim]
    if not isinstance(size, int):
        raise RuleError(f"%{x.name}: axis {dim} of {x.type} has no fixed size here")
    return size


def _reshape(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    ctx.give(x, ctx.reshape(ctx.g(node), (K, *x.type.shape)))


def _permute(ctx: Context, node: Node) -> None:
    dims = node.integers("dims")
    inverse = sorted(range(len(dims)), key=lambda i: dims[i])
    ctx.give(node.inputs[0], ctx.op("permute", ctx.g(node), dims=(0, *(i + 1 for i in inverse))))


def _same(ctx: Context, node: Node) -> None:
    ctx.give(node.inputs[0], ctx.g(node))


def _cast(ctx: Context, node: Node) -> None:
    ctx.give(node.inputs[0], ctx.op("cast", ctx.g(node), dtype=node.inputs[0].type.dtype))


def _cat(ctx: Context, node: Node) -> None:
    g, dim, start = ctx.g(node), node.integer("dim"), 0
    for x in node.inputs:
        size = extent(x, dim)
        part = ctx.op("slice", g, dim=dim, start=start, stop=start + size, step=1)
        ctx.give(x, part)
        start += size


def _slice(ctx: Context, node: Node) -> None:
    x, dim = node.inputs[0], node.integer("dim")
    ctx.give(
        x,
        ctx.op(
            "slice_transpose",
            ctx.g(node),
            dim=dim,
            start=node.attr("start"),
            step=node.attr("step"),
            size=x.type.shape[dim],
        ),
    )


def _pad(ctx: Context, node: Node) -> None:
    g, x, pad = ctx.g(node), node.inputs[0], node.integers("pad")
    constant = ctx.ledger and node.number("value") != 0
    if constant:
        ctx.lose("bias", g, node.out)
    for i in range(len(pad) // 2):
        before, size = pad[2 * i], extent(x, -1 - i)
        g = ctx.op("slice", g, dim=-1 - i, start=before, stop=before + size, step=1)
    if constant:
        ctx.record("bias", g, x, negative=True)
    ctx.give(x, g)


def _flip(ctx: Context, node: Node) -> None:
    ctx.give(node.inputs[0], ctx.op("flip", ctx.g(node), dims=node.attr("dims")))


def _gather(ctx: Context, node: Node) -> None:
    x, index = node.inputs
    dim = node.integer("dim")
    ctx.give(x, ctx.op("gather_transpose", ctx.g(node), index, dim=dim, size=x.type.shape[dim]))


def _topk(ctx: Context, node: Node) -> None:
    x, dim = node.inputs[0], node.integer("dim")
    ctx.give(
        x, ctx.op("gather_transpose", ctx.g(node), node.outputs[1], dim=dim, size=x.type.shape[dim])
    )


def _max_pool(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    ctx.give(
        x, ctx.op("max_pool2d_transpose", ctx.g(node), node.outputs[1], size=x.type.shape[-2:])
    )


def _masked_fill(ctx: Context, node: Node) -> None:
    x, mask = node.inputs
    g, value = ctx.g(node), node.number("value")
    back = ctx.op("masked_fill", g, mask, value=0.0)
    if ctx.ledger and value != 0 and math.isfinite(value):
        ctx.lose("bias", ctx.op("sub", g, back), node.out)
    ctx.give(x, back)


def _where(ctx: Context, node: Node) -> None:
    condition, a, b = node.inputs
    g = ctx.g(node)
    kept = ctx.op("masked_fill", g, condition, value=0.0)
    ctx.give(a, ctx.op("sub", g, kept))
    ctx.give(b, kept)


def _scale(ctx: Context, node: Node) -> None:
    ctx.give(node.inputs[0], ctx.op("scale", ctx.g(node), by=node.attr("by")))


def _shift(ctx: Context, node: Node) -> None:
    x, g = node.inputs[0], ctx.g(node)
    amount = ctx.op("full", shape=(1,), value=node.attr("by"), dtype=x.type.dtype)
    ctx.record("bias", g, amount)
    ctx.give(x, g)


def _sum(ctx: Context, node: Node) -> None:
    ctx.give(node.inputs[0], _spread(ctx, node))


def _mean(ctx: Context, node: Node) -> None:
    x, dims = node.inputs[0], node.integers("dims")
    count = math.prod(extent(x, d) for d in dims)
    ctx.give(x, ctx.op("scale", _spread(ctx, node), by=1.0 / count))


def _spread(ctx: Context, node: Node) -> Value:
    g, x, dims = ctx.g(node), node.inputs[0], node.integers("dims")
    axes = {d % x.type.rank for d in dims}
    shape = tuple(1 if i in axes else d for i, d in enumerate(x.type.shape))
    return ctx.op("expand", ctx.reshape(g, (K, *shape)), shape=(K, *x.type.shape))


def _div(ctx: Context, node: Node) -> None:
    a, b = node.inputs
    ctx.give(a, ctx.op("div", ctx.g(node), b))


def _expand(ctx: Context, node: Node) -> None:
    ctx.give(node.inputs[0], ctx.g(node))  # giving sums over broadcast axes


TRANSPOSES: dict[str, Callable[[Context, Node], None]] = {
    "reshape": _reshape,
    "permute": _permute,
    "detach": _same,
    "cast": _cast,
    "cat": _cat,
    "slice": _slice,
    "pad": _pad,
    "flip": _flip,
    "gather": _gather,
    "topk": _topk,
    "max_pool2d": _max_pool,
    "masked_fill": _masked_fill,
    "where": _where,
    "scale": _scale,
    "shift": _shift,
    "sum": _sum,
    "mean": _mean,
    "expand": _expand,
    "div": _div,
}
OPS = tuple(TRANSPOSES)


def passing(ctx: Context, node: Node, rule: Rule) -> None:
    TRANSPOSES[node.op](ctx, node)


def detach(ctx: Context, node: Node, rule: Rule) -> None:
    ctx.lose("detached", ctx.g(node), node.out)


RULES = (
    Declaration(
        "pass",
        OPS,
        passing,
        "each entry's relevance goes to the entry it came from; max pooling: the winner takes all",
        "rules of structure; Bach et al. 2015 for max pooling",
        "all; added constants go to sink `bias`",
    ),
    Declaration(
        "gradient_input",
        OPS,
        passing,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "all",
    ),
    Declaration(
        "detach",
        ("detach",),
        detach,
        "R_x = 0",
        "the model's own detach()",
        "what arrives goes to sink `detached`",
    ),
)
