"""Every row, by the name of the call that it lowers: one literal table per family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrpc.frontend.lowering import (
    activations,
    attention,
    elementwise,
    indexing,
    layers,
    maps,
    reductions,
    shapes,
)

Row = Callable[..., Any]
"""`row(context, *args, **kwargs)` has the signature of the call, and returns its operand."""

ROWS: dict[str, Row] = {
    name: row
    for family in (elementwise, activations, shapes, indexing, reductions, layers, maps, attention)
    for name, row in family.ROWS.items()
}
