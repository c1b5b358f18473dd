"""What an index says: numbers, slices, new axes, and tensors that pick along axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from lrpc.frontend.lowering.advice import LATER, MASKED, ONE_AXIS
from lrpc.frontend.lowering.context import MOVES, Context, Operand
from lrpc.frontend.records import ImageNumbers, Stored
from lrpc.ir.extents import Extent, indices
from lrpc.ir.graph import Value
from lrpc.ir.types import Dim, Sym

Tensors = tuple[Operand, ...]
TENSORS = (Value, Stored, ImageNumbers)


@dataclass(frozen=True)
class Picks:
    """An index of every axis, in order: what is no tensor, and the tensors apart.

    `plain` has a full slice where a tensor picks; `axes` are the axes that `tensors` pick along,
    counted in what `plain` leaves; `at` says where the axes of the tensors belong in the result,
    which is in front where they are not side by side.
    """

    plain: tuple[Operand, ...]
    axes: tuple[int, ...]
    tensors: Tensors
    at: int


def picks_of(c: Context, index: Operand, shape: tuple[Dim, ...]) -> Picks:
    """`index` of a tensor of this shape, taken apart."""
    picks = _every_axis(c, index, len(shape))
    beside = any(isinstance(p, (Value, Stored)) for p in picks)
    plain: list[Operand] = []
    tensors: list[Operand] = []
    axes: list[int] = []
    places: list[int] = []  # of the tensors, among what stays an axis or becomes one
    kept = axis = place = 0
    for pick in picks:
        if isinstance(pick, ImageNumbers) and not beside:
            if [d for d in pick.type.shape if d != 1] != [shape[axis]]:
                c.refuse("indexes with the numbers of the images an axis of others", ONE_AXIS)
            pick = slice(None)
        if isinstance(pick, TENSORS):
            tensors.append(pick)
            axes.append(kept)
            places.append(place)
        plain.append(slice(None) if isinstance(pick, TENSORS) else pick)
        number = isinstance(pick, int)
        kept += pick is not None and not number
        axis += pick is not None
        place += not number
    together = bool(places) and places == [*range(places[0], places[-1] + 1)]
    return Picks(tuple(plain), tuple(axes), tuple(tensors), axes[0] if together else 0)


def _every_axis(c: Context, index: Operand, rank: int) -> list[Operand]:
    """The picks, one for each axis and each new one."""
    picks: list[Operand] = []
    for pick in index if isinstance(index, (tuple, list)) else [index]:
        if isinstance(pick, (tuple, list)):
            pick = c.constant(torch.tensor(pick))
        if isinstance(pick, bool):
            c.refuse("picks by a single truth value", "use `if`, or multiply by it")
        picks += _of_mask(c, pick) if _is_mask(pick) else [pick]
    taken = sum(p is not None and p is not Ellipsis for p in picks)
    rest = [slice(None)] * (rank - taken)
    at = next((i for i, p in enumerate(picks) if p is Ellipsis), None)
    return picks + rest if at is None else picks[:at] + rest + picks[at + 1 :]


def _is_mask(pick: Operand) -> bool:
    return isinstance(pick, (Value, Stored)) and pick.type.dtype == "bool"


def _of_mask(c: Context, mask: Operand) -> list[Operand]:
    """The places where a mask is true, an index for each of its axes."""
    if not isinstance(mask, Stored) or mask.varies:
        c.refuse("picks by a mask, so that the result's shape depends on the data", MASKED)
    return [c.constant(places) for places in mask.tensor.nonzero(as_tuple=True)]


def picked(c: Context, x: Value, dim: int, pick: Operand) -> Value:
    """One axis of an index that is no tensor; numbers leave an axis of extent 1."""
    extent = x.type.shape[dim]
    if isinstance(pick, slice):
        return _sliced(c, x, dim, pick)
    if isinstance(extent, Sym):
        c.refuse(f"picks image {pick} out of the batch", LATER)
    start = pick % extent
    return c.slice(x, dim, start, start + 1)


def _sliced(c: Context, x: Value, dim: int, pick: slice) -> Value:
    extent = x.type.shape[dim]
    if isinstance(extent, Sym):
        if pick.step in (None, 1) and pick.start in (None, 0) and pick.stop in (None, extent):
            return x
        c.refuse("picks images out of the batch", LATER)
    start, stop, step = indices(pick, extent)
    return c.slice(x, dim, start, max(stop, start), step)


@dataclass(frozen=True)
class Flat:
    """A tensor whose axes that index tensors pick along are one, at `dim`, and the one index of it.

    `index` has one axis, or, where it is another for every image, the images' in front. With
    `images`, the first axis is theirs, and `dim` is 1. `shape` is what the index tensors broadcast
    to; `order` are the axes of the tensor as they lie now, before those that are picked along
    became one; `at` says where `shape` belongs in the result.
    """

    value: Value
    dim: int
    index: Operand
    shape: tuple[Dim, ...]
    order: tuple[int, ...]
    images: bool
    at: int

    @property
    def rest(self) -> tuple[Dim, ...]:
        """The extents of the axes that are not picked along, in order."""
        shape = self.value.type.shape
        return shape[: self.dim] + shape[self.dim + 1 :]


def flat(c: Context, x: Value, picks: Picks) -> Flat:
    """`x`, from which all that is no tensor has been picked, for one index along one axis."""
    shape = _broadcast(c, [t.type.shape for t in picks.tensors])
    pairs = list(zip(picks.axes, picks.tensors, strict=True))
    images = [axis for axis, t in pairs if isinstance(t, ImageNumbers)]
    others = [(axis, t) for axis, t in pairs if not isinstance(t, ImageNumbers)]
    if images and (x.type.shape[images[0]] != shape[0] or len(images) > 1):
        c.refuse("indexes images other than along the first axis of the index", ONE_AXIS)
    mine = any(isinstance(d, Sym) for _, t in others for d in t.type.shape)
    if not images and mine and any(isinstance(d, Sym) for d in x.type.shape):
        c.refuse("picks from all images by an index of each", "pick from each image, by gather")
    first = [axis for axis, _ in others]
    if not first:
        c.refuse("indexes with the numbers of the images an axis of others", ONE_AXIS)
    rest = [a for a in range(x.type.rank) if a not in first and a not in images]
    lead = 0 if images or (len(first) > 1 and picks.at == 0) else first[0]
    order = (*images, *rest[:lead], *first, *rest[lead:])
    turned = c.permute(x, order)
    dim = len(images) + (0 if images else lead)
    sizes = [c.size(x, axis) for axis in first]
    joined = turned
    if len(first) > 1:
        ends = turned.type.shape[:dim], turned.type.shape[dim + len(first) :]
        joined = c.reshape(turned, (*ends[0], math.prod(sizes), *ends[1]))
    index = _one_index(c, [t for _, t in others], sizes, shape, bool(images))
    return Flat(joined, dim, index, shape, order, bool(images), picks.at)


def _one_index(
    c: Context, tensors: list[Operand], sizes: list[int], shape: tuple[Dim, ...], images: bool
) -> Operand:
    """Σ index · stride: [n], or [images or 1, n]."""
    total: Operand = None
    for i, (tensor, size) in enumerate(zip(tensors, sizes, strict=True)):
        part = c.cast(tensor, "i64") if len(sizes) == 1 else from_front(c, tensor, size)
        if len(sizes) > 1:
            part = _times(c, part, math.prod(sizes[i + 1 :]))
        total = part if total is None else _plus(c, total, part)
    if images:
        ranks = len(c.type(total).shape) == len(shape)
        mine = ranks and isinstance(c.type(total).shape[0], Sym)
        if not mine:  # alike for all images
            return _shaped(c, total, shape[1:])
        whole = c.expand(total, shape)
        return c.reshape(whole, (shape[0], math.prod(map(c.fixed, shape[1:]))))
    return _shaped(c, total, shape)


def _shaped(c: Context, index: Operand, shape: tuple[Dim, ...]) -> Operand:
    """`index` broadcast to `shape`, in one axis."""
    own = c.type(index).shape
    own = own[len(own) - len(shape) :] if len(own) > len(shape) else own
    if isinstance(index, Stored) and not index.varies:
        wide = index.tensor.reshape([*map(c.fixed, own)]).expand([*map(c.fixed, shape)])
        return c.constant(wide.reshape(-1))
    value = c.expand(c.reshape(index, own), shape)
    return c.reshape(value, (count_of(shape),))


def count_of(shape: tuple[Dim, ...]) -> Dim:
    """The number of entries of a shape."""
    count: Dim = 1
    for extent in shape:
        count = extent * count if isinstance(extent, Sym) else count * extent
    return count


def _times(c: Context, x: Operand, by: int) -> Operand:
    if isinstance(x, Stored):
        return replace(x, name="", tensor=x.tensor * by)
    return x if by == 1 else c.op("scale", x, by=by)


def _plus(c: Context, x: Operand, y: Operand) -> Operand:
    if isinstance(x, Stored) and isinstance(y, Stored) and not x.varies and not y.varies:
        return c.constant(x.tensor + y.tensor)
    return c.op("add", c.value(x, spread=False), c.value(y, spread=False))


def _broadcast(c: Context, shapes: list[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    rank = max(map(len, shapes))
    found: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, extent in enumerate(shape, rank - len(shape)):
            if extent != 1:
                found[axis] = extent
    return tuple(found)


def from_front(c: Context, index: Operand, size: int) -> Operand:
    """Indices that may count from the end (−1 is the last), counted from the front."""
    index = c.cast(index, "i64")
    if isinstance(index, Stored) and isinstance(size, Extent):
        return index
    if isinstance(index, Stored):
        return replace(index, name="", tensor=index.tensor % size)
    if from_start(c, index):
        return index
    below = c.op("compare", index, c.constant(torch.tensor(0)), kind="lt")
    return c.op("where", below, c.op("add", index, c.constant(torch.tensor(size))), index)


def from_start(c: Context, index: Value) -> bool:
    """Whether indices are counted, or come from a top-k, which gives none below 0."""
    node = c.producers.get(index)
    while node is not None and node.op in MOVES and node.inputs:
        node = c.producers.get(node.inputs[0])
    return node is not None and node.op in ("topk", "arange")
