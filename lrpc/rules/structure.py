"""Ops that only move or select entries: exact transposes, nothing gained or lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from lrpc.errors import RuleError
from lrpc.ir.extents import Extent
from lrpc.ir.graph import Node, Rule, Value
from lrpc.ir.types import Dim, K
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration
from lrpc.rules.masks import hides


def extent(x: Value, dim: int) -> int:
    """The size of an axis that is not symbolic."""
    size = x.type.shape[dim]
    if not isinstance(size, int):
        raise RuleError(f"%{x.name}: axis {dim} of {x.type} has no fixed size here")
    return size


def _reshape(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    ctx.move(node, x, lambda g: ctx.reshape(g, (K, *x.type.shape)), whole=True)


def _permute(ctx: Context, node: Node) -> None:
    dims = node.integers("dims")
    inverse = sorted(range(len(dims)), key=lambda i: dims[i])
    order = (0, *(i + 1 for i in inverse))
    ctx.move(node, node.inputs[0], lambda g: ctx.op("permute", g, dims=order), whole=True)


def _same(ctx: Context, node: Node) -> None:
    ctx.move(node, node.inputs[0], lambda g: g)


def _cast(ctx: Context, node: Node) -> None:
    """What rounding to a narrower type takes or gives is booked: it is no relevance of `x`."""
    x = node.inputs[0]
    if not x.type.is_float:  # relevance of a whole number is none itself
        ctx.move(node, x, lambda g: g)
        return
    came = ctx.arrived(node)
    ctx.absorb_all(node, "rescale")
    if came.g is not None:
        g = ctx.op("cast", came.g, dtype=x.type.dtype)
        ctx.absorb("rescale", g, x, negative=True)
        ctx.propagate(x, g)
    if came.r is not None:
        r = ctx.op("cast", came.r, dtype=x.type.dtype)
        ctx.absorb_relevance("rescale", r, negative=True)
        ctx.propagate_relevance(x, r)


def _cat(ctx: Context, node: Node) -> None:
    dim, start = node.integer("dim"), 0
    for x in node.inputs:
        stop = start + extent(x, dim)
        ctx.move(node, x, partial(ctx.op, "slice", dim=dim, start=start, stop=stop, step=1))
        start = stop


def _slice(ctx: Context, node: Node) -> None:
    x, dim = node.inputs[0], node.integer("dim")
    start, step, size = node.attr("start"), node.attr("step"), x.type.shape[dim]
    ctx.move(
        node, x, partial(ctx.op, "slice_transpose", dim=dim, start=start, step=step, size=size)
    )


def _pad(ctx: Context, node: Node) -> None:
    x, pad = node.inputs[0], node.integers("pad")

    def inner(g: Value) -> Value:
        for i in range(len(pad) // 2):
            if pad[2 * i : 2 * i + 2] == (0, 0):
                continue  # such as the batch axis, which is of no size
            before, size = pad[2 * i], extent(x, -1 - i)
            g = ctx.op("slice", g, dim=-1 - i, start=before, stop=before + size, step=1)
        return g

    if ctx.ledger and (node.number("value") != 0 or ctx.arrived(node).r is not None):
        _lose_rest(ctx, node, inner, x)
    ctx.move(node, x, inner)


def _lose_rest(ctx: Context, node: Node, kept: Callable[[Value], Value], x: Value) -> None:
    """What arrived at `node` less what `kept` leaves of it for x: sink `bias`."""
    came = ctx.arrived(node)
    ctx.absorb_all(node, "bias")
    if came.g is not None:
        ctx.absorb("bias", kept(came.g), x, negative=True)
    if came.r is not None:
        ctx.absorb_relevance("bias", kept(came.r), negative=True)


def _flip(ctx: Context, node: Node) -> None:
    ctx.move(node, node.inputs[0], partial(ctx.op, "flip", dims=node.attr("dims")))


def _gather(ctx: Context, node: Node) -> None:
    _back_to(ctx, node, node.inputs[1])


def _topk(ctx: Context, node: Node) -> None:
    _back_to(ctx, node, node.outputs[1])


def _back_to(ctx: Context, node: Node, index: Value) -> None:
    x, dim = node.inputs[0], node.integer("dim")
    size = x.type.shape[dim]
    ctx.move(node, x, lambda g: ctx.op("gather_transpose", g, index, dim=dim, size=size))


def _max_pool(ctx: Context, node: Node) -> None:
    x, winners = node.inputs[0], node.outputs[1]
    size = x.type.shape[-2:]
    ctx.move(node, x, lambda g: ctx.op("max_pool2d_transpose", g, winners, size=size))


def _masked_fill(ctx: Context, node: Node) -> None:
    x, mask = node.inputs
    value = node.number("value")

    def kept(g: Value) -> Value:
        return ctx.op("masked_fill", g, mask, value=0.0)

    came = ctx.arrived(node)
    if ctx.ledger and came.g is not None and value != 0 and not hides(value):
        ctx.absorb("bias", ctx.op("sub", came.g, kept(came.g)), node.out)
    if ctx.ledger and came.r is not None:
        ctx.absorb_relevance("bias", ctx.op("sub", came.r, kept(came.r)))
    ctx.move(node, x, kept)


def _where(ctx: Context, node: Node) -> None:
    condition, a, b = node.inputs

    def second(g: Value) -> Value:
        return ctx.op("masked_fill", g, condition, value=0.0)

    ctx.move(node, a, lambda g: ctx.op("sub", g, second(g)))
    ctx.move(node, b, second)


def _scale(ctx: Context, node: Node) -> None:
    x, came = node.inputs[0], ctx.arrived(node)
    if came.g is not None:
        ctx.propagate(x, ctx.op("scale", came.g, by=node.attr("by")))
    if came.r is not None:
        ctx.propagate_relevance(x, came.r)


def _shift(ctx: Context, node: Node) -> None:
    x, g = node.inputs[0], ctx.per_output(node, 0.0)
    amount = ctx.op("full", shape=(1,), value=node.attr("by"), dtype=x.type.dtype)
    ctx.record("bias", g, amount)
    ctx.propagate(x, g)


def _sum(ctx: Context, node: Node, eps: float = 0.0) -> None:
    ctx.propagate(node.inputs[0], spread(ctx, node, ctx.per_output(node, eps)))


def _mean(ctx: Context, node: Node, eps: float = 0.0) -> None:
    ctx.propagate(node.inputs[0], averaged(ctx, node, ctx.per_output(node, eps)))


def averaged(ctx: Context, node: Node, g: Value) -> Value:
    """The transpose of a mean: `g` over every entry that was averaged, divided by their number."""
    x = node.inputs[0]
    count = math.prod(extent(x, d) for d in node.integers("dims"))
    if isinstance(count, Extent):
        number = ctx.op("full", shape=(1,), value=count, dtype=g.type.dtype)
        return ctx.op("div", spread(ctx, node, g), number)
    return ctx.op("scale", spread(ctx, node, g), by=1.0 / count)


def spread(ctx: Context, node: Node, g: Value) -> Value:
    """The transpose of a sum: `g` over every entry that was summed."""
    x = node.inputs[0]
    return ctx.op("expand", ctx.reshape(g, (K, *with_ones(node))), shape=(K, *x.type.shape))


def with_ones(node: Node) -> tuple[Dim, ...]:
    """The shape of a reduction's output, had it kept its axes."""
    x = node.inputs[0]
    axes = {d % x.type.rank for d in node.integers("dims")}
    return tuple(1 if i in axes else d for i, d in enumerate(x.type.shape))


def _scatter_sum(ctx: Context, node: Node, eps: float = 0.0) -> None:
    x, index = node.inputs
    g, dim = ctx.per_output(node, eps), node.integer("dim")
    whole = ctx.op("expand", index, shape=(K, *x.type.shape))
    ctx.propagate(x, ctx.op("gather", g, whole, dim=dim))


def _cumsum(ctx: Context, node: Node, eps: float = 0.0) -> None:
    dim = node.integer("dim")
    turned = ctx.op("flip", ctx.per_output(node, eps), dims=(dim,))
    total = ctx.op("cumsum", turned, dim=dim)
    ctx.propagate(node.inputs[0], ctx.op("flip", total, dims=(dim,)))


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
    "cumsum": _cumsum,
    "scatter_sum": _scatter_sum,
    "expand": _same,  # giving sums over broadcast axes
}
OPS = tuple(TRANSPOSES)
EPSILON = {"sum": _sum, "mean": _mean, "cumsum": _cumsum, "scatter_sum": _scatter_sum}


def passing(ctx: Context, node: Node, rule: Rule) -> None:
    TRANSPOSES[node.op](ctx, node)


def epsilon(ctx: Context, node: Node, rule: Rule) -> None:
    EPSILON[node.op](ctx, node, rule.number("eps"))


def detach(ctx: Context, node: Node, rule: Rule) -> None:
    ctx.absorb_all(node, "detached")


RULES = (
    # A partial sum may be 0 where its entries are not.
    Declaration("pass", tuple(op for op in OPS if op != "cumsum"), passing,
        "each entry's relevance goes to the entry it came from; max pooling: the winner takes all",
        "rules of structure; Bach et al. 2015 for max pooling",
        "all; added constants go to sink `bias`"),
    Declaration("gradient_input", OPS, passing,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "all"),
    Declaration("epsilon", tuple(EPSILON), epsilon,
        "R_x = x ⊙ fᵀ(R_z / stab_ε(f(x))); `pass` of sum and mean is this at ε = 0",
        "Bach et al. 2015, eq. 58 (10.1371/journal.pone.0130140)",
        "all but ε's share", (EPS,)),
    Declaration("detach", ("detach",), detach,
        "R_x = 0",
        "the model's own detach()",
        "what arrives goes to sink `detached`"),
)  # fmt: skip
