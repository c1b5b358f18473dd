"""The closed op table, and the names of the operations that have a property."""

from __future__ import annotations

from collections.abc import Collection

from lrpc.ir.ops import (
    boxes,
    deformable,
    elementwise,
    grids,
    network,
    relevance,
    slopes,
    steps,
    structural,
)
from lrpc.ir.ops.row import Op, infer
from lrpc.ir.ops.sized import resolve
from lrpc.ir.ops.traits import Family, Trait, View

TABLE: dict[str, Op] = {
    row.name: row
    for family in (
        *(elementwise, structural, steps, network, deformable, grids, boxes, relevance, slopes),
    )
    for row in family.ROWS
} | {row.name: row for row in relevance.EFFECTS}


def of_family(*families: Family) -> frozenset[str]:
    """The operations of any of these families."""
    return frozenset(name for name, row in TABLE.items() if row.family in families)


def with_trait(trait: Trait) -> frozenset[str]:
    """The operations that have all of `trait`."""
    return frozenset(name for name, row in TABLE.items() if row.has(trait))


def views(*kinds: View) -> frozenset[str]:
    """The operations whose results view their first input in one of these ways, or in any."""
    found = kinds or tuple(View)
    return frozenset(name for name, row in TABLE.items() if row.view in found)


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """`names` in the order of the table."""
    return tuple(name for name in TABLE if name in names)


__all__ = [
    "TABLE",
    "Family",
    "Op",
    "Trait",
    "View",
    "in_order",
    "infer",
    "of_family",
    "resolve",
    "views",
    "with_trait",
]
