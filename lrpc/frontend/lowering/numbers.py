"""Tensors made from numbers, where sizes vary."""

from __future__ import annotations

from typing import Any

import torch

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.ratios import Ratio
from lrpc.frontend.records import ImageNumbers
from lrpc.ir.extents import Extent
from lrpc.ir.graph import Value
from lrpc.ir.types import B, whole


def full(c: Context, shape: Operand, value: Any, *, dtype: Any = None) -> Value:
    if isinstance(value, Ratio):
        return c.expand(c.cast(value, c.result.dtype), c.result.shape)
    return c.op("full", shape=c.result.shape, value=value, dtype=c.result.dtype)


def arange(c: Context, start: Any, end: Any, step: Any, *, dtype: Any = None) -> Operand:
    if c.result.shape == (B,) and (start, step) == (0, 1) and not c.result.is_float:
        return ImageNumbers(c.result)
    counted = c.op("arange", size=c.result.shape[0], dtype=c.result.dtype)
    return _shifted(c, counted if step == 1 else _scaled(c, counted, step), start)


def linspace(c: Context, start: Any, end: Any, steps: int, *, dtype: Any = None) -> Value:
    """start + i · (end − start) / (steps − 1); torch counts the second half from the end."""
    counted = c.op("arange", size=steps, dtype=c.result.dtype)
    if isinstance(steps, Extent) or steps > 1:
        last = c.op("full", shape=(1,), value=steps - 1, dtype=c.result.dtype)
        if isinstance(steps, Extent) and steps.least() < 2:
            last = c.op("clamp", last, min=1, max=None)
        counted = c.op("div", counted, last)
    return _shifted(c, _scaled(c, counted, end - start), start)


def _scaled(c: Context, x: Value, by: Any) -> Value:
    if isinstance(by, Ratio | Extent):
        return c.op("mul", x, c.cast(by, x.type.dtype))
    return c.op("scale", x, by=by)


def _shifted(c: Context, x: Value, by: Any) -> Value:
    if isinstance(by, Ratio | Extent):
        return c.op("add", x, c.cast(by, x.type.dtype))
    return x if by == 0 else c.op("shift", x, by=by)


def tensor(c: Context, data: Operand, *, dtype: Any = None) -> Operand:
    """A list of numbers, some of which depend on sizes, or lists of such."""
    shape = tuple(map(whole, c.result.shape))
    numbers = _flat(data)
    if not any(isinstance(x, Extent | Ratio) for x in numbers):
        return c.constant(torch.tensor(data, dtype=dtype))
    parts = [_entry(c, x) for x in numbers]
    joined = parts[0] if len(parts) == 1 else c.op("cat", *parts, dim=-1)
    return c.reshape(joined, shape)


def _entry(c: Context, x: Any) -> Value:
    if isinstance(x, Ratio):
        return c.reshape(c.cast(x, c.result.dtype), (1,))
    return c.op("full", shape=(1,), value=x, dtype=c.result.dtype)


def read(c: Context, x: Value) -> list[int] | None:
    """The whole numbers in a tensor that was made from a list of them; None for others."""
    node = c.producers.get(x)
    if node is None:
        return None
    if node.op == "cat":
        parts = [read(c, part) for part in node.inputs]
        return None if None in parts else [n for part in parts for n in part or []]
    if node.op in ("reshape", "cast"):
        return read(c, node.inputs[0])
    value = node.attr("value") if node.op == "full" else None
    if not isinstance(value, int) or x.type.shape != (1,):
        return None
    return [value]


def meshgrid(c: Context, *tensors: Operand, indexing: str = "ij") -> tuple[Value, ...]:
    """Each of these vectors along an axis of its own."""
    given = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], tuple) else tensors
    values = [c.value(x) for x in given]
    extents = [x.type.shape[0] if x.type.shape else 1 for x in values]
    order = list(range(len(values)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    shape = tuple(extents[i] for i in order)
    found = []
    for place, x in enumerate(values):
        along = tuple(extents[place] if i == place else 1 for i in order)
        found.append(c.expand(c.reshape(x, along), shape))
    return tuple(found)


def counting(c: Context, size: int, after: int = 0) -> Operand:
    """0, 1, … below a size, with as many axes of one entry `after` that."""
    if isinstance(size, Extent):
        return c.reshape(c.op("arange", size=size, dtype="i64"), (size, *(1,) * after))
    return c.constant(torch.arange(size).reshape(-1, *(1,) * after))


def triangle(c: Context, rows: int, columns: int, diagonal: int = 0) -> Operand:
    """True on and below a diagonal of a matrix."""
    if not isinstance(rows, Extent) and not isinstance(columns, Extent):
        return c.constant(torch.ones(rows, columns, dtype=torch.bool).tril(diagonal))
    last = _shifted(c, c.value(counting(c, rows, 1)), diagonal)
    return c.op("compare", c.value(counting(c, columns)), last, kind="le")


def _of_triangle(upper: bool) -> Any:
    """`tril` and `triu`: what is in a triangle, 0 elsewhere."""

    def row(c: Context, x: Operand, diagonal: int = 0) -> Operand:
        rows, columns = c.size(x, -2), c.size(x, -1)
        part = c.value(triangle(c, rows, columns, diagonal - 1 if upper else diagonal))
        hidden = part if upper else c.op("logical_not", part)
        if c.type(x).dtype == "bool":
            return c.op("logical", x, c.op("logical_not", hidden), kind="and")
        return c.op("masked_fill", x, hidden, value=0.0 if c.type(x).is_float else 0)

    return row


def _flat(data: Any) -> list[Any]:
    if isinstance(data, (tuple, list)):
        return [x for part in data for x in _flat(part)]
    return [data]


ROWS: dict[str, Any] = {
    "full": full,
    "arange": arange,
    "linspace": linspace,
    "tensor": tensor,
    "meshgrid": meshgrid,
    "tril": _of_triangle(upper=False),
    "triu": _of_triangle(upper=True),
}
