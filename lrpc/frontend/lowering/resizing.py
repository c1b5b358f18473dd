"""Rows that resize maps of one, two and three axes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.frontend.lowering import maps
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.indexing import taken
from lrpc.frontend.lowering.windows import averages, by_matrix
from lrpc.frontend.ratios import of
from lrpc.ir.graph import Value
from lrpc.ir.types import Sym

LINEAR = ("linear", "bilinear", "trilinear")


def interpolate(
    c: Context, x: Operand, size: Operand = None, scale_factor: Operand = None,
    mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Operand:  # fmt: skip
    value, axes = c.value(x), c.type(x).rank - 2
    target = tuple(c.fixed(d) for d in c.result.shape[2:])
    if scale_factor is not None and not recompute_scale_factor:
        factors = (
            scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * axes
        )
        exact = (c.size(value, d) * of(f) for d, f in zip(range(-axes, 0), factors, strict=True))
        if not all(e.equals(t) for e, t in zip(exact, target, strict=True)):
            c.refuse("has a scale factor that does not give a whole number of pixels", "give size")
    corners = bool(align_corners)
    if axes == 3 or antialias or mode in ("nearest-exact", "area"):
        return _by_axis(c, value, target, mode, corners, antialias)
    if isinstance(value.type.shape[1], Sym) and value.type.shape[0] == 1:
        turned = c.permute(value, (1, 0, *range(2, axes + 2)))  # images may stand for channels
        y = _interpolated(c, turned, target, mode, corners)
        return c.permute(y, (1, 0, *range(2, axes + 2)))
    return _interpolated(c, value, target, mode, corners)


def _interpolated(
    c: Context, value: Value, target: tuple[int, ...], mode: str, corners: bool
) -> Value:
    if len(target) == 2:
        return c.op("interpolate", value, size=target, mode=mode, align_corners=corners)
    mode = "bilinear" if mode == "linear" else mode
    wide = maps.wide(c, value)
    y = c.op("interpolate", wide, size=(1, *target), mode=mode, align_corners=corners)
    return maps.narrow(c, y)


def _by_axis(
    c: Context, x: Value, target: tuple[int, ...], mode: str, corners: bool, antialias: bool
) -> Value:
    """One axis after the other: entries picked, or a matrix of weights."""
    for axis, count in zip(range(-len(target), 0), target, strict=True):
        length = c.counted(x, axis)
        if mode.startswith("nearest"):
            places = F.interpolate(torch.arange(length).double()[None, None], count, mode=mode)
            x = taken(c, x, axis, c.constant(places[0, 0].long()))
        elif length != count:
            x = by_matrix(c, x, axis, _matrix(length, count, mode, corners, antialias))
    return x


def _matrix(length: int, count: int, mode: str, corners: bool, antialias: bool) -> Tensor:
    if mode == "area":
        return averages(length, count)
    mode = "bilinear" if mode in LINEAR else mode
    unit = torch.eye(length, dtype=torch.float64)[None, :, :, None].repeat(1, 1, 1, 2)
    # Two columns: maps of one may be taken for channels in another order of memory.
    columns = F.interpolate(unit, (count, 2), mode=mode, align_corners=corners, antialias=antialias)
    return columns[0, :, :, 0].T


ROWS: dict[str, Any] = {"interpolate": interpolate}
