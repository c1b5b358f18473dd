"""Rows for diagonals of two axes."""

from __future__ import annotations

from typing import Any

import torch

from lrpc.frontend.lowering import indexing, writes
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.records import Call
from lrpc.ir.graph import Value


def diagonal(c: Context, x: Operand, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Operand:
    """The entries on a diagonal of two axes, which become the last."""
    return of_axes(c, x, offset, dim1, dim2)


def of_axes(c: Context, x: Operand, offset: int, dim1: int, dim2: int) -> Value:
    """The entries on a diagonal of two axes, which become the last."""
    value = c.value(x)
    rank = value.type.rank
    rest = [d for d in range(rank) if d not in (dim1 % rank, dim2 % rank)]
    turned = c.permute(value, (*rest, dim1 % rank, dim2 % rank))
    rows, columns = _diagonal(c.counted(turned, -2), c.counted(turned, -1), offset)
    picks = (*[slice(None)] * len(rest), c.constant(rows), c.constant(columns))
    return indexing.entries(c, turned, picks)


def _diagonal(height: int, width: int, offset: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of a diagonal's entries."""
    count = max(0, min(height + min(offset, 0), width - max(offset, 0)))
    places = torch.arange(count)
    return places - min(offset, 0), places + max(offset, 0)


def diagonal_index(c: Context, whole: Operand, view: Call) -> Operand:
    """The index that picks what a call of `diagonal` shows; None where its axis is not the last."""
    given = dict(zip(("offset", "dim1", "dim2"), view.args[1:], strict=False)) | view.kwargs
    shape = c.type(whole).shape
    axes = [given.get(k, i) % len(shape) for i, k in enumerate(("dim1", "dim2"))]
    if axes != [len(shape) - 2, len(shape) - 1]:
        return None
    sizes = (c.counted(whole, -2), c.counted(whole, -1))
    rows, columns = _diagonal(*sizes, given.get("offset", 0))
    return (*[slice(None)] * (len(shape) - 2), c.constant(rows), c.constant(columns))


def linalg_diagonal(
    c: Context, x: Operand, *, offset: int = 0, dim1: int = -2, dim2: int = -1
) -> Operand:
    return of_axes(c, x, offset, dim1, dim2)


def diag(c: Context, x: Operand, diagonal: int = 0) -> Operand:
    """The diagonal of a matrix, or a matrix with this one."""
    if c.type(x).rank == 2:
        return of_axes(c, x, diagonal, 0, 1)
    return diag_embed(c, x, diagonal)


def diag_embed(c: Context, x: Operand, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Operand:
    """Matrices with these diagonals, and 0 elsewhere."""
    if (dim1, dim2) != (-2, -1):
        c.refuse("makes matrices of other axes than the last", "permute the result instead")
    value = c.value(x)
    size = c.counted(value, -1) + abs(offset)
    shape = (*value.type.shape[:-1], size, size)
    rows, columns = _diagonal(size, size, offset)
    nothing = c.op("full", shape=shape, value=0, dtype=value.type.dtype)
    index = (*[slice(None)] * (len(shape) - 2), c.constant(rows), c.constant(columns))
    return writes.setitem(c, nothing, index, value)


def trace(c: Context, x: Operand) -> Operand:
    return c.op("sum", of_axes(c, x, 0, 0, 1), dims=(-1,), keepdim=False)


def fill_diagonal(c: Context, x: Operand, fill_value: float, wrap: bool = False) -> Operand:
    base = c.value(x)
    if base.type.rank != 2 or wrap:
        c.refuse("fills a diagonal of other than a matrix", "multiply by a mask instead")
    places = c.constant(torch.arange(min(c.counted(base, 0), c.counted(base, 1))))
    return writes.setitem(c, base, (places, places), fill_value)


ROWS: dict[str, Any] = {
    "diagonal": diagonal, "linalg_diagonal": linalg_diagonal, "diag": diag,
    "diag_embed": diag_embed, "trace": trace, "fill_diagonal": fill_diagonal,
}  # fmt: skip
