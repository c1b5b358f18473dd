"""Sampling points of deformable attention: where they lie on the maps of their levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lrpc.export.onnx.writer import Writer
from lrpc.ir.graph import Node, Value
from lrpc.ir.types import Dim, whole

Level = tuple[int, int]


def levels_of(node: Node) -> list[Level]:
    """Height and width of each level."""
    levels: Any = node.attr("levels")
    return [(whole(height), whole(width)) for height, width in levels]


@dataclass(frozen=True)
class Points:
    """The sampling points of one node: their extents, where and with what weights."""

    w: Writer
    loc: str
    weight: str
    shape: tuple[Dim, ...]  # B, Q, H, L, P, 2
    levels: list[Level]
    dtype: str

    @staticmethod
    def of(w: Writer, node: Node, loc: str, weight: str, value: Value) -> Points:
        return Points(w, loc, weight, value.type.shape, levels_of(node), value.type.dtype)

    @property
    def points(self) -> int:
        return whole(self.shape[4])

    @property
    def heads(self) -> int:
        return whole(self.shape[2])

    @property
    def queries(self) -> Dim:
        return self.shape[1]

    def rows(self) -> list[int]:
        """The first row of each level in the value, and the number of all."""
        found = [0]
        for height, width in self.levels:
            found.append(found[-1] + height * width)
        return found

    def at(self, level: int) -> str:
        """Locations of a level, [B, H, Q, P, 2]."""
        own = self.w.op("Gather", self.loc, self.w.array(np.array(level, np.int64)), axis=3)
        return self.w.op("Transpose", own, perm=[0, 2, 1, 3, 4])

    def weights(self, level: int) -> str:
        """Weights of a level, [B, H, Q, P]."""
        own = self.w.op("Gather", self.weight, self.w.array(np.array(level, np.int64)), axis=3)
        return self.w.op("Transpose", own, perm=[0, 2, 1, 3])

    def sampled(self, value: str, width: int, level: int) -> str:
        """value [B, S, H, D] at the points of a level: [B·H, D, Q, P]."""
        w, rows, (high, wide) = self.w, self.rows(), self.levels[level]
        part = w.slice(value, 1, rows[level], rows[level + 1])
        plane = w.op("Transpose", part, perm=[0, 2, 3, 1])
        plane = w.op("Reshape", plane, w.extents([-1, width, high, wide]))
        two, one = (w.number(n, self.dtype) for n in (2, 1))
        grid = w.op("Sub", w.op("Mul", self.at(level), two), one)
        grid = w.op("Reshape", grid, w.extents([-1, self.queries, self.points, 2]))
        return w.op("GridSample", plane, grid, mode="linear", align_corners=0)

    def cells(self, level: int, border: bool = False) -> Cells:
        """Where the points of a level lie, all [B, H, Q, P]."""
        w, loc, sizes = self.w, self.at(level), self.levels[level]
        half, one, zero = (w.number(n, self.dtype) for n in (0.5, 1, 0))
        first, past = [], []
        for axis, size in ((1, sizes[0]), (0, sizes[1])):
            length = w.cast(w.extent(size), "i64", self.dtype)
            own = w.op("Gather", loc, w.array(np.array(axis, np.int64)), axis=4)
            place = w.op("Sub", w.op("Mul", own, length), half)
            if border:
                place = w.op("Min", w.op("Max", place, zero), w.op("Sub", length, one))
            # One cell or more outside the map nothing is sampled: such points stay just outside.
            inside = w.op("Min", w.op("Max", place, w.number(-1, self.dtype)), length)
            cell = w.op("Min", w.op("Floor", inside), w.op("Sub", length, one))
            first.append(w.cast(w.op("Add", cell, one), self.dtype, "i64"))
            past.append(w.op("Sub", inside, cell))
        return Cells(first[0], first[1], past[0], past[1])

    def slopes(self, level: int, axis: int) -> list[str]:
        """The slope of the shares of the first and the second corner along x or y, which is 0 for
        points a cell or more outside the map: [B, H, Q, P]."""
        w, size = self.w, self.levels[level][1 - axis]
        length = w.cast(w.extent(size), "i64", self.dtype)
        own = w.op("Gather", self.at(level), w.array(np.array(axis, np.int64)), axis=4)
        place = w.op("Sub", w.op("Mul", own, length), w.number(0.5, self.dtype))
        after = w.op("GreaterOrEqual", place, w.number(-1, self.dtype))
        inside = w.cast(w.op("And", after, w.op("Less", place, length)), "bool", self.dtype)
        return [w.op("Neg", inside), inside]


@dataclass(frozen=True)
class Cells:
    """The line and column of a point's first corner, counted from one before the map, and how far
    past it the point lies."""

    line: str
    column: str
    down: str
    along: str


def shares(w: Writer, past: str, dtype: str) -> tuple[str, str]:
    """The shares of the first and the second corner along an axis."""
    return w.op("Sub", w.number(1, dtype), past), past
