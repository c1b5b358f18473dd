"""Attributes and types for given sizes, and extents from what they are at several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from lrpc.ir.extents import Extent, at
from lrpc.ir.fitting import fitted
from lrpc.ir.graph import Attr
from lrpc.ir.sizes import Size
from lrpc.ir.stand_ins import coefficient
from lrpc.ir.types import Dim, Sizes, Sym, TensorType


def resolve(value: Attr, sizes: Mapping[str, int]) -> Any:
    """An attribute with the symbols in it replaced by sizes."""
    if isinstance(value, (Sym, Extent)):
        return value.at(sizes)
    return tuple(resolve(v, sizes) for v in value) if isinstance(value, tuple) else value


def same_symbols(dims: Sequence[Dim], own: Sequence[Size]) -> Dim | None:
    """The extent that is `dims` at the points of a grid; None if none."""
    coeff = fitted([coefficient(d) for d in dims], own)
    symbols = {(d.batch, d.seeds) if isinstance(d, Sym) else (0, 0) for d in dims}
    if len(symbols) > 1 or coeff is None:
        return None
    batch, seeds = symbols.pop()
    return Sym(coeff, batch, seeds) if batch or seeds else coeff


def broadcast(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...] | None:
    """The shape of an elementwise result; None where it is not the same at all sizes."""
    found = []
    for dims in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
        longer = {dim for dim in dims if dim != 1}
        if len(longer) > 1:
            return None
        found.append(longer.pop() if longer else 1)
    return tuple(reversed(found))


def type_at(kind: TensorType, sizes: Sizes) -> TensorType:
    """A type for given sizes, with B and K as they are."""
    return TensorType(kind.dtype, tuple(resolved(d, sizes) for d in kind.shape))


def resolved(value: Any, sizes: Sizes) -> Any:
    """A value with extents for given sizes, with B and K as they are."""
    if isinstance(value, Sym):
        return replace(value, coeff=at(value.coeff, sizes))
    if isinstance(value, Extent):
        return value.at(sizes)
    return tuple(resolved(v, sizes) for v in value) if isinstance(value, tuple) else value
