"""Where the state keeps what several sampling operations share: indices, coefficients, transpose.

Operations on the same locations and weights as a `deform_sample` of the forward pass share them
under the entry that its result has.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from lrpc.backend.schedule.ir import Book, Compute, Entry, Load, Read, Setting
from lrpc.ir.ops import TABLE

Tables = Mapping[tuple[Setting | None, ...], Entry]
S = TypeVar("S", Compute, Read, Book, Compute | Read | Book)


def shared_tables(steps: Iterable[Compute | Read | Book], entries: Mapping[str, Entry]) -> Tables:
    """The entry that each sampling of the forward pass shares its tables under; `entries` are those
    of its values."""
    found: dict[tuple[Setting | None, ...], Entry] = {}
    for step in steps:
        if isinstance(step, Compute) and step.op == "deform_sample":
            entry = entries[step.outputs[0].name]
            found.setdefault(_key(step), entry)
            found.setdefault((*_key(step)[:-1], None), entry)
    return found


def with_tables(step: S, tables: Tables, needed: Container[str]) -> S:
    """A statement with the entry that it keeps its tables at: a sampling whose locations relevance
    needs."""
    if not isinstance(step, Compute):
        return step
    locations = _operand(step, "locations")
    if locations is None:
        return step
    keeps = tables.get(_key(step)) if locations in needed else None
    return step if keeps == step.keeps else replace(step, keeps=keeps)


def _key(step: Compute) -> tuple[Setting | None, ...]:
    """Levels, locations and weights; the transpose in the weights has none."""
    return step.attr("levels"), _operand(step, "locations"), _operand(step, "weights")


def _operand(step: Compute, name: str) -> str | None:
    """The value that is this operand of `step`, by name; None where it has no such operand."""
    place = TABLE[step.op].operand(name)
    if place is None:
        return None
    operand = step.inputs[place]
    return operand.entry.name if isinstance(operand, Load) else operand.name
