"""The closed op table."""

from __future__ import annotations

from lrpc.ir.ops import boxes, deformable, elementwise, network, relevance, slopes, structural
from lrpc.ir.ops.row import Op, infer, resolve

TABLE: dict[str, Op] = {
    row.name: row
    for family in (elementwise, structural, network, deformable, boxes, relevance, slopes)
    for row in family.ROWS
} | {row.name: row for row in relevance.EFFECTS}

__all__ = ["TABLE", "Op", "infer", "resolve"]
