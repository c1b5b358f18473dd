"""Rows that change shapes: reshape, permute, expand, cat, stack, split and their relatives."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from lrpc.frontend.lowering import indexing
from lrpc.frontend.lowering.alike import of_one_image
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.ir.graph import Value
from lrpc.ir.types import Dim, Sym, TensorType


def reshape(c: Context, x: Operand, *args: Any, **kwargs: Any) -> Operand:
    """Any call whose result has the elements of `x` in the same order."""
    return c.reshape(x, c.result.shape)


def view(c: Context, x: Operand, *args: Any, **kwargs: Any) -> Operand:
    """`view` with a shape, or with a dtype."""
    if c.type(x).dtype != c.result.dtype:
        c.refuse("reads the bits of one dtype as another")
    return reshape(c, x)


def squeeze(c: Context, x: Operand, dim: Operand = None) -> Operand:
    shape = c.type(x).shape
    for axis in c.axes(dim, len(shape)) if shape else ():
        if shape[axis] in (Sym(batch=1), Sym(batch=2)):
            c.refuse(
                "drops the batch axis where there is one image", "name the axes, as squeeze(-1)"
            )
    return reshape(c, x)


def permute(c: Context, x: Operand, *dims: Any, **kwargs: Any) -> Operand:
    order = kwargs.get("dims") or (dims[0] if isinstance(dims[0], (tuple, list)) else dims)
    rank = c.type(x).rank
    return c.permute(x, tuple(d % rank for d in order))


def transpose(c: Context, x: Operand, dim0: int, dim1: int) -> Operand:
    rank = c.type(x).rank
    order = list(range(rank))
    order[dim0 % rank], order[dim1 % rank] = dim1 % rank, dim0 % rank
    return c.permute(x, tuple(order))


def reverse_axes(c: Context, x: Operand) -> Operand:
    return c.permute(x, tuple(reversed(range(c.type(x).rank))))


def swap_last(c: Context, x: Operand) -> Operand:
    return transpose(c, x, -2, -1)


def movedim(c: Context, x: Operand, source: Operand, destination: Operand) -> Operand:
    rank = c.type(x).rank
    froms, tos = (
        [d % rank for d in ((v,) if isinstance(v, int) else v)] for v in (source, destination)
    )
    rest = iter([d for d in range(rank) if d not in froms])
    places = dict(zip(tos, froms, strict=True))
    return c.permute(x, tuple(places[d] if d in places else next(rest) for d in range(rank)))


def expand(c: Context, x: Operand, *args: Any, **kwargs: Any) -> Operand:
    return c.expand(x, c.result.shape)


def repeat(c: Context, x: Operand, *args: Any, **kwargs: Any) -> Operand:
    """Each axis as (copies, extent), spread, and folded again."""
    sizes = kwargs.get("repeats") or kwargs.get("dims")
    sizes = sizes or (args[0] if isinstance(args[0], (tuple, list)) else args)
    shape = c.type(x).shape
    shape = (1,) * (len(sizes) - len(shape)) + shape
    if isinstance(shape[0], Sym) and sizes[0] != 1 and len(sizes) == c.type(x).rank:
        # All images once, then all of them again: where they are the same, no copy is of another.
        one = of_one_image(c, c.value(x))
        if one is not None:
            pairs = [(1, 1), *zip(sizes[1:], shape[1:], strict=True)]
            thin = _spread(c, one, pairs, (1, *c.result.shape[1:]))
            return c.expand(thin, c.result.shape)
    return _spread(c, x, [(copies, extent) for copies, extent in zip(sizes, shape, strict=True)])


def repeat_interleave(
    c: Context, x: Operand, repeats: Operand, dim: int | None = None, **kwargs: Any
) -> Operand:
    if not isinstance(repeats, (int, Sym)) or dim is None:
        c.refuse(
            "repeats by other than one number along one axis",
            "give one number and dim, or use expand and reshape",
        )
    rank = c.type(x).rank
    pairs: list[tuple[Dim, Dim]] = [(1, extent) for extent in c.type(x).shape]
    extent = c.type(x).shape[dim % rank]
    pairs[dim % rank] = (1, extent)
    thin = [e for i, e in enumerate(c.type(x).shape) for e in ((e, 1) if i == dim % rank else (e,))]
    wide = [
        e
        for i, e in enumerate(c.type(x).shape)
        for e in ((e, repeats) if i == dim % rank else (e,))
    ]
    spread = c.expand(c.reshape(x, tuple(thin)), tuple(wide))
    return c.reshape(spread, c.result.shape)


def _spread(
    c: Context, x: Operand, pairs: list[tuple[Dim, Dim]], shape: tuple[Dim, ...] | None = None
) -> Value:
    """Each axis as (copies, extent), in the shape of the result."""
    thin: list[Dim] = []
    wide: list[Dim] = []
    for copies, extent in pairs:
        if copies == 1 or extent == 1:
            thin.append(extent)
            wide.append(extent if copies == 1 else copies)
        else:
            thin += [1, extent]
            wide += [copies, extent]
    return c.reshape(c.expand(c.reshape(x, tuple(thin)), tuple(wide)), shape or c.result.shape)


def cat(c: Context, tensors: Operand, dim: int = 0) -> Operand:
    parts = [x for x in tensors if c.type(x).shape != (0,)]
    dim = c.axis(dim, c.result.rank)
    if isinstance(c.result.shape[dim], Sym) and len(parts) > 1:
        c.refuse("joins along the batch axis")
    values = [c.value(c.cast(x, c.result.dtype)) for x in parts]
    return values[0] if len(values) == 1 else c.op("cat", *values, dim=dim)


def stack(c: Context, tensors: Operand, dim: int = 0) -> Operand:
    dim = c.axis(dim, c.result.rank)
    shape = list(c.result.shape)
    shape[dim] = 1
    values = [c.reshape(c.cast(x, c.result.dtype), tuple(shape)) for x in tensors]
    return values[0] if len(values) == 1 else c.op("cat", *values, dim=dim)


def split(c: Context, x: Operand, sizes: Operand = None, dim: int = 0, **_: Operand) -> Operand:
    """`split`, `chunk`, `tensor_split`, whatever they call sizes: parts are as large as traced."""
    dim = c.axis(dim, c.type(x).rank)
    start, parts = 0, []
    for part in _parts(c):
        extent = part.shape[dim]
        if isinstance(extent, Sym):
            c.refuse("divides the batch axis")
        parts.append(c.slice(x, dim, start, start + extent))
        start += extent
    return tuple(parts)


def split_along(axis: int, c: Context, x: Operand, sizes: Operand = None, **_: Operand) -> Operand:
    """`vsplit`, `hsplit` and `dsplit`; of tensors of one axis by that."""
    return split(c, x, sizes, min(axis, c.type(x).rank - 1))


def unbind(c: Context, x: Operand, dim: int = 0) -> Operand:
    dim = c.axis(dim, c.type(x).rank)
    c.size(x, dim)
    return tuple(
        c.reshape(c.slice(x, dim, i, i + 1), part.shape) for i, part in enumerate(_parts(c))
    )


def _parts(c: Context) -> list[TensorType]:
    types = c.call.type
    if not isinstance(types, tuple):
        c.refuse("has no parts")
    return [t for t in types if isinstance(t, TensorType)]


def diff(
    c: Context, x: Operand, n: int = 1, dim: int = -1, prepend: Operand = None,
    append: Operand = None,
) -> Operand:  # fmt: skip
    """Each entry less the one before it."""
    ends = [y for y in (prepend, x, append) if y is not None]
    values = [c.value(c.cast(y, c.result.dtype)) for y in ends]
    if n != 1 or c.result.dtype == "bool":
        c.refuse(f"takes differences {n} times, or of booleans", "subtract slices instead")
    axis = c.axis(dim, c.result.rank)
    joined = values[0] if len(values) == 1 else c.op("cat", *values, dim=axis)
    size = c.size(joined, axis)
    return c.op("sub", c.slice(joined, axis, 1, size), c.slice(joined, axis, 0, size - 1))


def narrow(c: Context, x: Operand, dim: int, start: int, length: int) -> Operand:
    dim = c.axis(dim, c.type(x).rank)
    if length == c.type(x).shape[dim]:
        return x
    c.size(x, dim)
    return c.slice(x, dim, start % c.size(x, dim), start % c.size(x, dim) + length)


def select(c: Context, x: Operand, dim: int, index: int) -> Operand:
    dim = c.axis(dim, c.type(x).rank)
    index %= c.size(x, dim)
    return c.reshape(c.slice(x, dim, index, index + 1), c.result.shape)


def flip(c: Context, x: Operand, *dims: Any, **kwargs: Any) -> Operand:
    given = kwargs.get("dims") or (dims[0] if isinstance(dims[0], (tuple, list)) else dims)
    axes = c.axes(given, c.type(x).rank)
    for dim in axes:
        c.size(x, dim)
    return c.op("flip", x, dims=axes)


def roll(c: Context, x: Operand, shifts: Operand, dims: Operand = None) -> Operand:
    if dims is None:
        c.refuse("rolls the flattened tensor", "give dims, as roll(1, dims=-1)")
    pairs = zip(*((v,) if isinstance(v, int) else v for v in (shifts, dims)), strict=True)
    value = c.value(x)
    for shift, dim in pairs:
        size = c.size(value, dim)
        if cut := -shift % size:
            axis = c.axis(dim, value.type.rank)
            ends = c.slice(value, axis, cut, size), c.slice(value, axis, 0, cut)
            value = c.op("cat", *ends, dim=axis)
    return value


def pad(
    c: Context, x: Operand, pad: tuple[int, ...], mode: str = "constant", value: float | None = None
) -> Operand:
    for axis in range(len(pad) // 2):  # what is negative crops
        before, after = (min(p, 0) for p in pad[2 * axis : 2 * axis + 2])
        if before or after:
            x = c.slice(x, -1 - axis, -before, c.size(x, -1 - axis) + after)
    pad = tuple(max(p, 0) for p in pad)
    if mode != "constant":
        return _mirrored(c, c.value(x), pad, mode)
    return c.op("pad", x, pad=pad, value=float(value or 0.0)) if any(pad) else x


def _mirrored(c: Context, x: Value, pad: tuple[int, ...], mode: str) -> Value:
    """Padding with the map's own entries, picked along one axis after the other."""
    for axis in range(len(pad) // 2):
        before, after = pad[2 * axis : 2 * axis + 2]
        size = c.counted(x, -1 - axis)
        places = torch.arange(-before, size + after)
        if mode == "replicate":
            places = places.clamp(0, size - 1)
        elif mode == "circular":
            places = places % size
        else:  # reflect: once at either end
            places = size - 1 - (size - 1 - places.abs()).abs()
        if before or after:
            x = indexing.index_select(c, x, -1 - axis, c.constant(places))
    return x


def pixel_shuffle(c: Context, x: Operand, upscale_factor: int) -> Operand:
    n, (batch, channels, height, width) = upscale_factor, _four(c, x)
    parts = c.reshape(x, (batch, channels // n**2, n, n, height, width))
    return c.reshape(c.permute(parts, (0, 1, 4, 2, 5, 3)), c.result.shape)


def pixel_unshuffle(c: Context, x: Operand, downscale_factor: int) -> Operand:
    n, (batch, channels, height, width) = downscale_factor, _four(c, x)
    parts = c.reshape(x, (batch, channels, height // n, n, width // n, n))
    return c.reshape(c.permute(parts, (0, 1, 3, 5, 2, 4)), c.result.shape)


def channel_shuffle(c: Context, x: Operand, groups: int) -> Operand:
    batch, channels, height, width = _four(c, x)
    parts = c.reshape(x, (batch, groups, channels // groups, height, width))
    return c.reshape(c.permute(parts, (0, 2, 1, 3, 4)), c.result.shape)


def _four(c: Context, x: Operand) -> tuple[Dim, int, int, int]:
    if c.type(x).rank != 4:
        c.refuse(f"takes {c.type(x)}, not [B, C, H, W]")
    return (c.type(x).shape[0], c.size(x, 1), c.size(x, 2), c.size(x, 3))


ROWS: dict[str, Any] = {
    "reshape": reshape, "view": view, "view_as": reshape, "reshape_as": reshape,
    "flatten": reshape, "ravel": reshape, "unflatten": reshape,
    "squeeze": squeeze, "unsqueeze": reshape,
    "permute": permute, "transpose": transpose, "swapaxes": transpose, "swapdims": transpose,
    "t": reverse_axes, "T": reverse_axes, "mT": swap_last, "H": reverse_axes, "mH": swap_last,
    "adjoint": swap_last, "movedim": movedim, "moveaxis": movedim,
    "expand": expand, "expand_as": expand, "broadcast_to": expand,
    "repeat": repeat, "tile": repeat, "repeat_interleave": repeat_interleave,
    "cat": cat, "concat": cat, "concatenate": cat, "stack": stack,
    "split": split, "split_with_sizes": split, "chunk": split, "tensor_split": split,
    "unsafe_split": split, "unsafe_chunk": split,
    **{op: partial(split_along, i) for i, op in enumerate(("vsplit", "hsplit", "dsplit"))},
    "unbind": unbind, "narrow": narrow, "select": select, "flip": flip, "roll": roll, "pad": pad,
    "diff": diff, "pixel_shuffle": pixel_shuffle, "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle,
}  # fmt: skip
