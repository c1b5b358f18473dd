"""Every row, by the name of the call that it lowers: one literal table per family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from lrpc.frontend.execute import is_in_place, out_of_place
from lrpc.frontend.lowering import (
    activations,
    attention,
    diagonals,
    elementwise,
    functions,
    grids,
    indexing,
    layers,
    maps,
    numbers,
    products,
    recurrent,
    reductions,
    resizing,
    scatters,
    shapes,
    volumes,
    windows,
    writes,
)
from lrpc.frontend.records import Call

Row = Callable[..., Any]
"""`row(context, *args, **kwargs)` has the signature of the call, and returns its operand."""

ROWS: dict[str, Row] = {
    name: row
    for family in (
        elementwise,
        functions,
        activations,
        shapes,
        indexing,
        reductions,
        layers,
        products,
        recurrent,
        maps,
        grids,
        resizing,
        volumes,
        windows,
        attention,
        numbers,
        writes,
        scatters,
        diagonals,
    )
    for name, row in family.ROWS.items()
}

#: Functions of torch that take their arguments in another order than those of torch.nn.functional.
OWN_ORDER: tuple[tuple[Any, Row], ...] = (
    (torch.batch_norm, layers.torch_batch_norm),
    (torch.instance_norm, layers.torch_instance_norm),
    (torch.embedding, indexing.torch_embedding),
)


#: Methods that take their arguments in another order than the function of the same name.
METHODS: dict[str, Row] = {
    "where": elementwise.where_method,
    "unfold": windows.unfold_method,
}


def row_of(call: Call) -> Row | None:
    """The row that lowers a call; None where there is none."""
    for function, row in OWN_ORDER:
        if call.target is function:
            return row
    if call.kind == "call_method" and call.name in METHODS:
        return METHODS[call.name]
    return ROWS.get(out_of_place(call.name) if is_in_place(call.name) else call.name)
