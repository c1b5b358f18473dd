"""Pooling, resizing and boxes of maps, and their transposes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from lrpc.export.onnx.elementwise import constant
from lrpc.export.onnx.structural import range_of
from lrpc.export.onnx.writer import NUMPY, Emit, Writer, counts, settled
from lrpc.ir.graph import Node
from lrpc.ir.ops.boxes import EMPTY_MINIMUM
from lrpc.ir.types import Dim, whole

CUBIC = -0.75
"""The slope of torch's bicubic kernel."""


def _max_pool2d(w: Writer, node: Node, x: Sequence[str]) -> list[str]:
    """ONNX counts winners through all maps, torch within each."""
    padding = counts(node, "padding")
    values, indices = w.several(
        "MaxPool",
        x[0],
        outputs=2,
        kernel_shape=counts(node, "kernel"),
        strides=counts(node, "stride"),
        pads=padding + _beyond(node),
        dilations=counts(node, "dilation"),
    )
    area = w.op("Mul", *(w.extent(d) for d in node.inputs[0].type.shape[-2:]))
    return [values, w.op("Mod", indices, area)]


def _beyond(node: Node) -> list[int]:
    """Padding at the ends with which windows reach as far as torch's with `ceil` do."""
    keys = ("kernel", "stride", "padding", "dilation")
    options = zip(*(counts(node, key) for key in keys), strict=True)
    sizes = zip(node.inputs[0].type.shape[-2:], node.outputs[0].type.shape[-2:], strict=True)
    found = []
    for (before, after), (kernel, stride, padding, apart) in zip(sizes, options, strict=True):
        reach = (whole(after) - 1) * stride + apart * (kernel - 1) + 1
        rest = reach - whole(before) - padding
        found.append(max(settled(rest), padding) if node.attr("ceil") else padding)
    return found


def _max_pool2d_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    shape, planes = node.out.type.shape, node.inputs[0].type.shape[:-2]
    height, width = (whole(d) for d in node.inputs[0].type.shape[-2:])
    g = w.reshape(x[0], [*planes, height * width])
    index = w.reshape(x[1], [*node.inputs[1].type.shape[:-2], height * width])
    index = w.op("Expand", index, w.extents([*planes, height * width]))
    zeros = w.zeros([*planes, whole(shape[-2]) * whole(shape[-1])], node.out.type.dtype)
    found = w.op("ScatterElements", zeros, index, g, axis=len(planes), reduction="add")
    return w.reshape(found, shape)


class _Windows:
    """Sums over the windows of an average pooling, as convolutions of each map with ones."""

    def __init__(self, w: Writer, node: Node, size: Sequence[Dim], out: Sequence[Dim]) -> None:
        self.w, self.size, self.out = w, [whole(d) for d in size], [whole(d) for d in out]
        self.dtype = node.out.type.dtype
        self.kernel, self.stride, self.padding = (
            counts(node, key) for key in ("kernel", "stride", "padding")
        )
        self.divisor, self.uncounted = node.attr("divisor"), bool(node.attr("uncounted"))
        self.ones = w.array(np.ones((1, 1, *self.kernel), NUMPY[self.dtype]))
        each = zip(self.out, self.kernel, self.stride, self.padding, self.size, strict=True)
        #: What the windows reach beyond the end, and of a row that they do not reach, less than 0.
        self.after = [settled((o - 1) * s + k - p - n) for o, k, s, p, n in each]

    def sums(self, x: str) -> str:
        """x [N, 1, h, w] → the sum of each window."""
        rows = self._padded(x, list(self.padding), self.after)
        return self.w.op("Conv", rows, self.ones, strides=list(self.stride))

    def _padded(self, x: str, before: Sequence[int], after: Sequence[int]) -> str:
        if not any((*before, *after)):
            return x
        return self.w.padded(x, 4, 2, before, after, self.w.number(0, self.dtype))

    def spread(self, g: str) -> str:
        """The transpose of `sums`."""
        whole_map = self.w.op("ConvTranspose", g, self.ones, strides=list(self.stride))
        return self._padded(whole_map, [-p for p in self.padding], [-a for a in self.after])

    def counts(self) -> str:
        """What the sum of each window is divided by."""
        w = self.w
        if self.divisor is not None:
            return w.number(float(str(self.divisor)), self.dtype)
        padded = zip(self.after, self.padding, strict=True)
        if not self.uncounted and all(after <= padding for after, padding in padded):
            return w.number(prod(self.kernel), self.dtype)
        one = w.number(1, self.dtype)
        inside = w.op("Expand", one, w.extents([1, 1, *self.size]))
        if not self.uncounted:  # padding counts, what windows reach beyond it does not
            ends = [min(p, a) for p, a in zip(self.padding, self.after, strict=True)]
            inside = w.padded(inside, 4, 2, self.padding, ends, one)
            rest = [a - e for a, e in zip(self.after, ends, strict=True)]
            return w.op("Conv", self._padded(inside, [0, 0], rest), self.ones,
                        strides=list(self.stride))  # fmt: skip
        return self.sums(inside)


def _alone(w: Writer, x: str, shape: Sequence[Dim]) -> str:
    """Every map by itself: [N, 1, h, w]."""
    return w.op("Reshape", x, w.extents([-1, 1, *shape[-2:]]))


def _tiles(node: Node, size: Sequence[Dim], out: Sequence[Dim]) -> bool:
    """Whether the windows lie side by side and cover the maps, as adaptive poolings do, whose
    windows may be as long as the size of the image says."""
    kernel = node.integers("kernel")
    side = kernel == node.integers("stride") and not any(node.integers("padding"))
    covered = zip(size[-2:], out[-2:], kernel, strict=True)
    return side and node.attr("divisor") is None and all(n == whole(o) * k for n, o, k in covered)


def _apart(node: Node, out: Sequence[Dim]) -> list[Dim]:
    """The shape of maps whose windows have axes of their own."""
    (high, wide), (*rest, lines, columns) = node.integers("kernel"), out
    return [*rest, lines, high, columns, wide]


def _avg_pool2d(w: Writer, node: Node, x: Sequence[str]) -> str:
    size, out = node.inputs[0].type.shape, node.out.type.shape
    if _tiles(node, size, out):
        windows_apart = w.op("Reshape", x[0], w.extents(_apart(node, out)))
        return w.reduce("ReduceMean", windows_apart, [-3, -1], False)
    windows = _Windows(w, node, size[-2:], out[-2:])
    found = w.op("Div", windows.sums(_alone(w, x[0], size)), windows.counts())
    return w.op("Reshape", found, w.extents(out))


def _avg_pool2d_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    size, out = node.out.type.shape, node.inputs[0].type.shape
    if _tiles(node, size, out):
        area = w.op("Mul", *map(w.extent, node.integers("kernel")))
        share = w.op("Div", x[0], w.cast(area, "i64", node.out.type.dtype))
        share = w.op("Unsqueeze", share, w.integers([-3, -1]))
        spread = w.op("Expand", share, w.extents(_apart(node, out)))
        return w.op("Reshape", spread, w.extents(size))
    windows = _Windows(w, node, size[-2:], out[-2:])
    found = windows.spread(w.op("Div", _alone(w, x[0], out), windows.counts()))
    return w.op("Reshape", found, w.extents(size))


def resizing(w: Writer, source: Dim, size: Dim, mode: str, align: bool, dtype: str) -> str:
    """The matrix [size, source] that resizes an axis."""
    kind = "f64" if dtype == "f64" else "f32"
    old, new = (w.cast(w.extent(d), "i64", kind) for d in (source, size))
    to, place = (w.op("Unsqueeze", range_of(w, d, kind), w.integers([axis]))
                 for d, axis in ((size, 1), (source, 0)))  # fmt: skip
    one, half, zero = (w.number(n, kind) for n in (1, 0.5, 0))
    last = w.op("Sub", old, one)
    if mode == "nearest":
        at = w.op("Floor", w.op("Mul", to, w.op("Div", old, new)))
        same = w.op("Equal", w.op("Min", at, last), place)
        return w.cast(same, "bool", dtype)
    if align:
        at = w.op("Mul", to, w.op("Div", last, w.op("Max", w.op("Sub", new, one), one)))
    else:
        ratio = w.op("Div", old, new)
        at = w.op("Sub", w.op("Mul", w.op("Add", to, half), ratio), half)
    if mode == "bilinear":
        at = w.op("Min", w.op("Max", at, zero), last)
        away = w.op("Abs", w.op("Sub", at, place))
        return w.cast(w.op("Max", w.op("Sub", one, away), zero), kind, dtype)
    return w.cast(_cubic(w, at, place, last, kind), kind, dtype)


def _cubic(w: Writer, at: str, place: str, last: str, kind: str) -> str:
    """Four entries around a place, those beyond the ends taken from there."""
    first = w.op("Floor", at)
    total = ""
    for tap in (-1, 0, 1, 2):
        entry = w.op("Add", first, w.number(tap, kind))
        away = w.op("Abs", w.op("Sub", at, entry))
        inside = w.op("Min", w.op("Max", entry, w.number(0, kind)), last)
        same = w.cast(w.op("Equal", inside, place), "bool", kind)
        part = w.op("Mul", same, _kernel(w, away, tap in (0, 1), kind))
        total = w.op("Add", total, part) if total else part
    return total


def _kernel(w: Writer, t: str, near: bool, kind: str) -> str:
    """The cubic kernel below a distance of 1, or from there to 2."""
    a = CUBIC
    factors = (a + 2, -(a + 3), 0, 1) if near else (a, -5 * a, 8 * a, -4 * a)
    found = w.number(factors[0], kind)
    for factor in factors[1:]:
        found = w.op("Add", w.op("Mul", found, t), w.number(factor, kind))
    return found


def _matrices(w: Writer, node: Node, source: Sequence[Dim], size: Sequence[Dim]) -> list[str]:
    mode, align = str(node.attr("mode")), bool(node.attr("align_corners"))
    dtype = node.out.type.dtype
    return [resizing(w, a, b, mode, align, dtype) for a, b in zip(source, size, strict=True)]


def _interpolate(w: Writer, node: Node, x: Sequence[str]) -> str:
    lines, columns = _matrices(w, node, node.inputs[0].type.shape[-2:], node.out.type.shape[-2:])
    wide = w.op("MatMul", x[0], w.op("Transpose", columns, perm=[1, 0]))
    return w.op("MatMul", lines, wide)


def _interpolate_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    lines, columns = _matrices(w, node, node.out.type.shape[-2:], node.inputs[0].type.shape[-2:])
    narrow = w.op("MatMul", w.op("Transpose", lines, perm=[1, 0]), x[0])
    return w.op("MatMul", narrow, columns)


def _masks_to_boxes(w: Writer, node: Node, x: Sequence[str]) -> str:
    mask = w.cast(w.cast(x[0], node.inputs[0].type.dtype, "bool"), "bool", "i32")
    found: list[str] = []
    *_, height, width = node.inputs[0].type.shape
    zero, empty = constant(w, node, 0), constant(w, node, EMPTY_MINIMUM)
    for axis, extent in ((-2, width), (-1, height)):
        hit = w.cast(w.reduce("ReduceMax", mask, [axis], False), "i32", "bool")
        places = range_of(w, extent, "f32")
        last = w.reduce("ReduceMax", w.op("Where", hit, places, zero), [-1])
        first = w.reduce("ReduceMin", w.op("Where", hit, places, empty), [-1])
        if node.attr("convention") == "bitmask":
            some = w.cast(w.reduce("ReduceMax", w.cast(hit, "bool", "i32"), [-1]), "i32", "bool")
            first = w.op("Where", some, first, zero)
            last = w.op("Where", some, w.op("Add", last, constant(w, node, 1)), zero)
        found += [first, last]
    x0, x1, y0, y1 = found
    return w.op("Concat", x0, y0, x1, y1, axis=-1)


ROWS: dict[str, Emit] = {
    "max_pool2d": _max_pool2d,
    "max_pool2d_transpose": _max_pool2d_transpose,
    "avg_pool2d": _avg_pool2d,
    "avg_pool2d_transpose": _avg_pool2d_transpose,
    "interpolate": _interpolate,
    "interpolate_transpose": _interpolate_transpose,
    "masks_to_boxes": _masks_to_boxes,
}
