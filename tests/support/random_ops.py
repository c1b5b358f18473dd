"""How each operation that relevance can pass is drawn: operands that fit, attributes in range."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from lrpc.ir.graph import Value
from lrpc.ir.types import B, Sym
from tests.support.sketch import LARGEST, Shape, Sketch, batch_axis, ints, size

Maker = Callable[[Sketch], object]


def fixed_last(shape: Shape) -> bool:
    return len(shape) > 1 and isinstance(shape[-1], int)


def some_axis(shape: Shape) -> bool:
    return bool(ints(shape))


def batched(shape: Shape) -> bool:
    """Images first, and a channel axis after them."""
    return len(shape) > 1 and isinstance(shape[0], Sym)


def image(k: Sketch) -> Value:
    """A map [B, C, H, W] with at least two rows and columns."""

    def fits(shape: Shape) -> bool:
        return len(shape) == 4 and batched(shape) and min(ints(shape[2:])) >= 2

    return k.pick(fits)


def other(k: Sketch, x: Value) -> Value:
    """A second operand for an elementwise operation: data or constant, broadcast or not."""
    shape = x.type.shape
    ones = [1 if isinstance(d, int) and k.chance() else d for d in shape]
    match k.number(0, 4):
        case 0:
            return k.shaped(shape)
        case 1:
            return k.shaped(tuple(ones))
        case 2:
            return x
        case 3:
            return k.constant(*(d if isinstance(d, int) else 1 for d in ones))
        case _:
            tail = shape[batch_axis(shape) + 1 :]
            return k.constant(*ints(tail)) if tail else k.constant(1)


# -- linear maps -----------------------------------------------------------------------------------


def linear(k: Sketch) -> None:
    x = k.pick(fixed_last)
    rows, out = ints(x.type.shape[-1:])[0], k.number(1, 6)
    k.add("linear", x, weight=k.weight(out, rows), bias=k.maybe_weight(out))


# Options of a window of 3 × 3 under which a map's output has its input's size.
KEEPING: dict[str, tuple[int, int]] = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}


def conv2d(k: Sketch) -> None:
    x = image(k)
    channels, height, width = ints(x.type.shape[1:])
    if k.number(0, 3) == 0:
        k.add("conv2d", x, weight=k.weight(channels, channels, 3, 3), groups=1, **KEEPING)
        return
    groups = k.one_of([g for g in (1, 2, 3, 4) if channels % g == 0])
    out = groups * k.number(1, 2)
    kernel = k.number(1, 3), k.number(1, 3)
    padding = tuple(k.number(0, 1) for _ in kernel)
    room = [n + 2 * p for n, p in zip((height, width), padding, strict=True)]
    kernel = min(kernel[0], room[0]), min(kernel[1], room[1])
    wide = all(2 * (n - 1) < r for n, r in zip(kernel, room, strict=True))
    k.add(
        "conv2d",
        x,
        weight=k.weight(out, channels // groups, *kernel),
        bias=k.maybe_weight(out),
        stride=(k.number(1, 2), k.number(1, 3)),
        padding=padding,
        dilation=(k.number(1, 2), 1) if wide else (1, 1),
        groups=groups,
    )


def conv_transpose2d(k: Sketch) -> None:
    x = image(k)
    channels = ints(x.type.shape[1:])[0]
    if k.number(0, 3) == 0:
        weight = k.weight(channels, channels, 3, 3)
        k.add("conv_transpose2d", x, weight=weight, groups=1, output_padding=(0, 0), **KEEPING)
        return
    groups = k.one_of([g for g in (1, 2) if channels % g == 0])
    out, stride = k.number(1, 2), (k.number(1, 2), k.number(1, 2))
    kernel = k.number(1, 3), k.number(1, 3)
    k.add(
        "conv_transpose2d",
        x,
        weight=k.weight(channels, out, *kernel),
        bias=k.maybe_weight(out * groups),
        stride=stride,
        padding=(0, k.number(0, 1) if kernel[1] > 1 else 0),
        dilation=(1, k.number(1, 2)),
        output_padding=tuple(k.number(0, s - 1) for s in stride),
        groups=groups,
    )


def batch_norm(k: Sketch) -> None:
    x = k.pick(lambda shape: batched(shape) and len(shape) in (2, 3, 4))
    c = ints(x.type.shape[1:])[0]
    var, eps = k.weight(c, positive=True), k.one_of([1e-5, 1e-3])
    given = {key: k.weight(c) for key in ("weight", "bias", "mean")}
    k.add("batch_norm", x, **given, var=var, eps=eps)


def interpolate(k: Sketch) -> None:
    mode = k.one_of(["nearest", "bilinear", "bicubic"])
    corners = mode != "nearest" and k.chance()
    grown = (k.number(1, 7), k.number(1, 7))
    k.add("interpolate", image(k), size=grown, mode=mode, align_corners=corners)


def avg_pool2d(k: Sketch) -> None:
    if k.number(0, 3) == 0:
        k.add("avg_pool2d", image(k), kernel=(3, 3), stride=(1, 1), padding=(1, 1))
        return
    k.add("avg_pool2d", image(k), **pooling(k))


def max_pool2d(k: Sketch) -> None:
    k.add("max_pool2d", image(k), **pooling(k), dilation=(1, 1), ceil=k.chance())


def pooling(k: Sketch) -> dict[str, tuple[int, int]]:
    kernel = k.number(1, 2), k.number(1, 2)
    padding = k.number(0, kernel[0] // 2), k.number(0, kernel[1] // 2)
    return {"kernel": kernel, "stride": (k.number(1, 2), k.number(1, 2)), "padding": padding}


# -- products --------------------------------------------------------------------------------------


def matmul(k: Sketch) -> None:
    x = k.pick(lambda shape: len(shape) > 2 and all(isinstance(d, int) for d in shape[-2:]))
    *front, rows, columns = x.type.shape
    assert isinstance(columns, int)
    match k.number(0, 3):
        case 0:
            k.add("matmul", x, k.shaped((*front, columns, k.number(1, 4))))
        case 1:
            k.add("matmul", k.shaped((*front, k.number(1, 4), rows)), x)
        case 2:
            k.add("matmul", x, k.constant(columns, k.number(1, 4)))
        case _:
            order = list(range(x.type.rank))
            turned = k.op("permute", x, dims=(*order[:-2], order[-1], order[-2]))
            k.add("matmul", x, turned)


EQUATIONS: tuple[tuple[str, Shape, Shape], ...] = (
    ("bqc,bkc->bqk", (B, 3, 4), (B, 2, 4)),
    ("bqk,bkc->bqc", (B, 3, 2), (B, 2, 4)),
    ("bkc,bqk->bqc", (B, 2, 4), (B, 3, 2)),
    ("bhqd,bhkd->bhqk", (B, 2, 3, 2), (B, 2, 4, 2)),
    ("bqc,bchw->bqhw", (B, 3, 2), (B, 2, 2, 3)),
    ("bqc,kc->bkq", (B, 3, 4), (2, 4)),
    ("bc,bc->bc", (B, 5), (B, 5)),
    ("qbc,kbc->bqk", (3, B, 4), (2, B, 4)),
    ("bij,bj->b", (B, 3, 4), (B, 4)),
    ("bij,bk->bk", (B, 3, 4), (B, 5)),
    ("bi,ij->b", (B, 3), (3, 4)),
)


def einsum(k: Sketch) -> None:
    equation, left, right = k.one_of(EQUATIONS)
    a = k.shaped(left)
    b = k.shaped(right) if len(ints(right)) < len(right) else k.constant(*ints(right))
    k.add("einsum", a, b, equation=equation)


def elementwise(op: str, k: Sketch) -> None:
    x = k.pick()
    operands = [x, other(k, x)]
    k.add(op, *(operands if k.chance() else operands[::-1]))


def div(k: Sketch) -> None:
    """By a constant, or by an activation that is far enough from 0."""
    x = k.pick()
    if k.chance():
        over = k.chance()
        divisor = k.op("shift", k.op("sigmoid", other(k, x) if over else x), by=0.5)
        k.add("div", x if over else k.constant(1), divisor)
        return
    fixed = [d if isinstance(d, int) else 1 for d in x.type.shape]
    k.add("div", x, k.op("constant", weight=k.weight(*fixed, positive=True)))


# -- attention -------------------------------------------------------------------------------------


def softmax(k: Sketch) -> None:
    x = k.pick(some_axis)
    k.add("softmax", x, dim=k.axis(x))


def attention(k: Sketch) -> None:
    """Heads [B, 2, N, 2] of projected tokens; masked or not, by matmul or einsum."""
    tokens = k.shaped((B, 4, 6))
    query, key, value = (_head(k, tokens) for _ in range(3))
    if k.chance():
        scores = k.op("einsum", query, key, equation="bhqd,bhkd->bhqk")
    else:
        scores = k.op("matmul", query, k.op("permute", key, dims=(0, 1, 3, 2)))
    scores = k.op("scale", scores, by=2**-0.5)
    if k.chance():
        scores = k.op("masked_fill", scores, _padding(k), value=-math.inf)
    mixed = k.op("matmul", k.op("softmax", scores, dim=-1), value)
    joined = k.op("reshape", k.op("permute", mixed, dims=(0, 2, 1, 3)), shape=(B, 4, 4))
    k.add("linear", joined, weight=k.weight(6, 4), bias=k.maybe_weight(6))


def _head(k: Sketch, tokens: Value) -> Value:
    if k.chance():
        tokens = k.op("add", tokens, k.constant(4, 6))  # positions
    projected = k.op("linear", tokens, weight=k.weight(4, 6), bias=k.maybe_weight(4))
    return k.op("permute", k.op("reshape", projected, shape=(B, 4, 2, 2)), dims=(0, 2, 1, 3))


def _padding(k: Sketch) -> Value:
    """True on a part of the keys, never on all of them."""
    drawn = k.op("compare_scalar", k.shaped((B, 1, 1, 3)), kind="gt", value=0.2)
    return k.op("pad", drawn, pad=(0, 1), value=0)


def deform_sample(k: Sketch) -> None:
    levels = ((2, 3), (1, 2))
    query = k.shaped((B, 3, 6))
    value = k.op("linear", k.shaped((B, 8, 4)), weight=k.weight(4, 4), bias=k.maybe_weight(4))
    value = k.op("reshape", value, shape=(B, 8, 2, 2))
    if k.chance():
        offsets = k.op("linear", query, weight=k.weight(16, 6), bias=k.maybe_weight(16))
        loc = k.op("sigmoid", k.op("reshape", offsets, shape=(B, 3, 2, 2, 2, 2)))
    else:
        at = k.op("constant", weight=k.weight(1, 3, 2, 2, 2, 2, positive=True))
        loc = k.op("expand", k.op("scale", at, by=0.5), shape=(B, 3, 2, 2, 2, 2))
    scores = k.op("linear", query, weight=k.weight(8, 6), bias=k.maybe_weight(8))
    shares = k.op("softmax", k.op("reshape", scores, shape=(B, 3, 2, 4)), dim=-1)
    weight = k.op("reshape", shares, shape=(B, 3, 2, 2, 2))
    k.add("deform_sample", value, loc, weight, levels=levels)


def grid_sample(k: Sketch) -> None:
    x, axes = image(k), 2
    if k.number(0, 3) == 0:
        c, h, w = ints(x.type.shape[1:])
        x, axes = k.op("reshape", x, shape=(B, 1, c, h, w)), 3
    places = (B, *(k.number(1, 3) for _ in range(axes)), axes)
    grid = k.shaped(places)
    if k.chance():
        grid = k.op("expand", k.constant(1, *ints(places[1:])), shape=places)
    modes = ["bilinear", "nearest", "bicubic"][: 5 - axes]
    padding = k.one_of(["zeros", "border", "reflection"])
    k.add("grid_sample", x, grid, mode=k.one_of(modes), padding=padding, align_corners=k.chance())


# -- normalisation and blocks ----------------------------------------------------------------------


def layer_norm(k: Sketch) -> None:
    x = k.pick(lambda shape: fixed_last(shape) and shape[-1] != 1)
    width = ints(x.type.shape[-1:])[0]
    eps = k.one_of([1e-5, 1e-3])
    k.add("layer_norm", x, weight=k.maybe_weight(width), bias=k.maybe_weight(width), eps=eps)


def rms_norm(k: Sketch) -> None:
    x = k.pick(fixed_last)
    k.add("rms_norm", x, weight=k.maybe_weight(ints(x.type.shape[-1:])[0]), eps=1e-5)


def group_norm(k: Sketch) -> None:
    x = k.pick(lambda shape: batched(shape) and len(shape) > 2)
    c = ints(x.type.shape[1:])[0]
    groups = k.one_of([g for g in (1, 2, 3) if c % g == 0])
    given = {"weight": k.maybe_weight(c), "bias": k.maybe_weight(c)}
    k.add("group_norm", x, groups=groups, **given, eps=1e-5)


def layers(k: Sketch) -> None:
    """The same residual layer two or three times, each in a block of its own."""
    x, before = k.shaped((B, 3, 4)), k.module
    for i in range(k.number(2, 3)):
        k.module = f"layers.{i}.mlp"
        hidden = k.op("linear", x, weight=k.weight(5, 4), bias=k.weight(5))
        hidden = k.op("linear", k.op("relu", hidden), weight=k.weight(4, 5), bias=k.weight(4))
        x = k.op("add", x, hidden)
        x = k.op("layer_norm", x, weight=k.weight(4), bias=k.weight(4), eps=1e-5)
        k.pool.append(x)
    k.module = before


# -- structure -------------------------------------------------------------------------------------


def reshape(k: Sketch) -> None:
    x = k.images_first(k.pick())
    batch, *rest = x.type.shape
    assert isinstance(batch, Sym)
    shapes: list[Shape] = [(B, size(x)), (B, 1, size(x)), (batch, *rest, 1)]
    if rest and isinstance(rest[0], int):
        shapes.append((batch * rest[0], *rest[1:]))
        shapes += [(batch, p, rest[0] // p, *rest[1:]) for p in (2, 3) if rest[0] % p == 0]
    k.add("reshape", x, shape=k.one_of(shapes))


def permute(k: Sketch) -> None:
    x = k.pick()
    order = list(range(x.type.rank))
    for i in range(len(order) - 1):
        j = k.number(i, len(order) - 1)
        order[i], order[j] = order[j], order[i]
    k.add("permute", x, dims=tuple(order))


def expand(k: Sketch) -> None:
    x = k.images_first(k.pick(lambda shape: shape[batch_axis(shape)] == B))
    batch, *rest = x.type.shape
    wide = k.op("reshape", x, shape=(batch, 1, *rest))
    count = 2 if size(x) * 2 <= LARGEST else 1
    k.add("expand", wide, shape=(batch, count, *rest))


def cat(k: Sketch) -> None:
    x = k.pick(some_axis)
    dim = k.axis(x)
    parts = [x]
    for _ in range(k.number(1, 2)):
        shape = list(x.type.shape)
        shape[dim] = k.number(1, 3)
        parts.append(k.shaped(tuple(shape)) if k.chance() else x)
    k.add("cat", *(parts if k.chance() else parts[::-1]), dim=dim)


def slice_(k: Sketch) -> None:
    x = k.pick(some_axis)
    dim = k.axis(x)
    extent = x.type.shape[dim]
    assert isinstance(extent, int)
    start = k.number(0, extent - 1)
    stop, step = k.number(start + 1, extent), k.number(1, 3)
    k.add("slice", x, dim=dim, start=start, stop=stop, step=step)


def pad(k: Sketch) -> None:
    x = k.pick(fixed_last)
    both = x.type.rank > 2 and isinstance(x.type.shape[-2], int) and k.chance()
    amounts = tuple(k.number(0, 2) for _ in range(4 if both else 2))
    k.add("pad", x, pad=amounts, value=k.one_of([0.0, 0.5]))


def flip(k: Sketch) -> None:
    x = k.pick(some_axis)
    k.add("flip", x, dims=k.axes(x))


def _ordered(k: Sketch) -> tuple[Value, int, int]:
    x = k.pick(some_axis)
    dim = k.axis(x)
    extent = x.type.shape[dim]
    assert isinstance(extent, int)
    return x, dim, k.number(1, extent)


def topk(k: Sketch) -> None:
    x, dim, count = _ordered(k)
    k.add("topk", x, k=count, dim=dim)


def gather(k: Sketch) -> None:
    """Rows by the indices of the largest entries of another value, or at fixed places."""
    x, dim, count = _ordered(k)
    if k.chance():
        key = k.shaped(x.type.shape)
        index = k.builder.op("topk", key, k=count, dim=dim)[1]
    else:
        sizes = [d if isinstance(d, int) else 1 for d in x.type.shape]
        extent, sizes[dim] = sizes[dim], count
        shape = list(x.type.shape)
        shape[dim] = count
        if extent == 1:
            index = k.op("full", shape=tuple(shape), value=0, dtype="i64")
        else:
            index = k.op("constant", weight=k.weight(*sizes, dtype="i64"))
            index = k.op("expand", index, shape=tuple(shape))
    k.add("gather", x, index, dim=dim)


def masked_fill(k: Sketch) -> None:
    x = k.pick()
    k.add("masked_fill", x, k.mask(x.type.shape), value=k.one_of([0.0, 0.5]))


def where(k: Sketch) -> None:
    x = k.pick()
    operands = [x, other(k, x)]
    a, b = operands if k.chance() else operands[::-1]
    k.add("where", k.mask(x.type.shape), a, b)


def embedding(k: Sketch) -> None:
    """Tokens 0 and 1 that are inputs, looked up as they are or cut first."""
    known = [v for v in k.inputs if v.type.dtype == "i64"]
    tokens = k.one_of(known) if known else k.input((B, 4), "i64")
    if k.chance():
        tokens = k.op("slice", tokens, dim=-1, start=k.number(0, 2), stop=4, step=1)
    k.add("embedding", tokens, weight=k.weight(3, k.number(1, 6)))


# -- by a number, over an axis ---------------------------------------------------------------------


def by_number(op: str, k: Sketch) -> None:
    k.add(op, k.pick(), by=k.one_of([0.5, -1.5, 2.0, 1.0]))


def reduced(op: str, k: Sketch) -> None:
    x = k.pick(some_axis)
    k.add(op, x, dims=k.axes(x), keepdim=k.chance())


def cumsum(k: Sketch) -> None:
    x = k.pick(some_axis)
    k.add("cumsum", x, dim=k.axis(x))


def scatter_sum(k: Sketch) -> None:
    x = k.pick(some_axis)
    places = k.op("compare_scalar", x, kind="gt", value=0.0)
    index = k.op("cast", places, dtype="i64")
    k.add("scatter_sum", x, index, dim=k.axis(x), size=k.number(2, 3))


def unary(op: str, k: Sketch, **attrs: object) -> None:
    k.add(op, k.pick(), **attrs)


def of_positive(op: str, k: Sketch, **attrs: object) -> None:
    """An operation that is defined on positive numbers."""
    k.add(op, k.op("shift", k.op("sigmoid", k.pick()), by=0.5), **attrs)


def power(k: Sketch) -> None:
    if k.chance():
        k.add("pow", k.pick(), exponent=k.one_of([2, 3, 1]))
    else:
        of_positive("pow", k, exponent=k.one_of([1.5, 0.5, -0.5, -1]))


def clamp(k: Sketch) -> None:
    bounds = [{"min": -1.0, "max": 1.5}, {"min": 0.2, "max": 2.0}, {"max": -0.2}, {"min": 0.0}]
    k.add("clamp", k.pick(), **k.one_of(bounds))


def gelu(k: Sketch) -> None:
    k.add("gelu", k.pick(), approximate=k.one_of(["none", "tanh"]))


MAKERS: dict[str, Maker] = {
    "linear": linear,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "batch_norm": batch_norm,
    "interpolate": interpolate,
    "avg_pool2d": avg_pool2d,
    "max_pool2d": max_pool2d,
    "matmul": matmul,
    "einsum": einsum,
    **{op: partial(elementwise, op) for op in ("add", "sub", "mul")},
    "div": div,
    "softmax": softmax,
    "deform_sample": deform_sample,
    "grid_sample": grid_sample,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "embedding": embedding,
    "group_norm": group_norm,
    "reshape": reshape,
    "permute": permute,
    "expand": expand,
    "cat": cat,
    "slice": slice_,
    "pad": pad,
    "flip": flip,
    "topk": topk,
    "gather": gather,
    "masked_fill": masked_fill,
    "where": where,
    **{op: partial(by_number, op) for op in ("scale", "shift")},
    **{op: partial(reduced, op) for op in ("sum", "mean", "amax", "amin")},
    "cumsum": cumsum,
    **{op: partial(unary, op) for op in ("relu", "silu", "sigmoid", "tanh", "detach", "abs")},
    **{op: partial(unary, op) for op in ("relu6", "elu", "hardswish", "mish", "centred_softplus")},
    **{op: partial(unary, op) for op in ("sin", "cos", "erf")},
    "scatter_sum": scatter_sum,
    "exp": lambda k: k.add("exp", k.op("tanh", k.pick())),
    **{op: partial(of_positive, op) for op in ("sqrt", "log", "log1p", "reciprocal")},
    "pow": power,
    "clamp": clamp,
    "leaky_relu": partial(unary, "leaky_relu", slope=0.1),
    "gelu": gelu,
    "cast": partial(unary, "cast", dtype="f64"),
}
# Several operations at once, as models have them.
BLOCKS: dict[str, Maker] = {"attention": attention, "layers": layers}
