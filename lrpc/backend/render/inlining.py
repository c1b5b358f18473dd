"""Which values have no name in the text: they stand in the one expression that reads them.

A value that is read once, by the next operation, is computed within it. What it holds is freed at
the same moment as a name would be, so nothing changes in memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lrpc.backend.schedule.ir import Compute, Free, Function, Only, Statement
from lrpc.backend.schedule.table import template
from lrpc.backend.schedule.walk import operands, unconditional
from lrpc.backend.schedule.words import own_kernels
from lrpc.ir.graph import Value

DEEPEST = 2  # expressions within one another
OPERATIONS = re.compile(r"\(| [-+*/@>] | \*\* ")


@dataclass
class Inlined:
    """The statements of a function as they are written, and the operations that stand in others, by
    the names of what they make."""

    body: tuple[Statement, ...]
    within: dict[str, Compute] = field(default_factory=dict)

    @staticmethod
    def of(function: Function) -> Inlined:
        """What is written of a function."""
        read = Counter(v.name for v in function.results)
        made = Counter[str]()
        for s in unconditional(function.body):
            if not isinstance(s, Only):
                read.update(x.name for x in operands(s) if isinstance(x, Value))
            if isinstance(s, Compute):
                made.update(v.name for v in s.outputs)
        found = Inlined(())
        once = {name for name, count in read.items() if count == 1 and made[name] == 1}
        found.body = found._body(function.body, once, {})
        return found

    def _body(
        self, body: Sequence[Statement], once: set[str], deep: dict[str, int]
    ) -> tuple[Statement, ...]:
        found: list[Statement] = []
        for s in body:
            if isinstance(s, Only):
                found.append(replace(s, body=self._body(s.body, once, deep)))
                continue
            found.append(s)
            if isinstance(s, Compute):
                self._into(found, once, deep)
            elif isinstance(s, Free):
                found[-1] = Free(tuple(n for n in s.values if n not in self.within), s.parts)
        return tuple(found)

    def _into(self, found: list[Statement], once: set[str], deep: dict[str, int]) -> None:
        """Take into the last operation the one before it, where it can stand there."""
        reader, place = found[-1], len(found) - 2
        freed: list[str] = []
        while place >= 0 and isinstance(found[place], Free):
            before = found[place]
            assert isinstance(before, Free)
            if before.parts:
                return
            freed = [*before.values, *freed]
            place -= 1
        s = found[place] if place >= 0 else None
        if not isinstance(s, Compute) or not isinstance(reader, Compute):
            return
        own = {s.inputs[s.over].name} if s.over is not None else set()  # type: ignore[union-attr]
        depth = 1 + max((deep.get(n, 0) for n in _names(s)), default=0)
        if not set(freed) <= own or depth > DEEPEST or not _fits(s, reader, once):
            return
        name = s.outputs[0].name
        self.within[name], deep[name] = s, depth
        rest = [Free(tuple(freed))] if freed else []
        found[place:] = [s, reader, *rest]


def _names(s: Compute) -> Iterable[str]:
    return (x.name for x in s.inputs if isinstance(x, Value))


def _fits(s: Compute, reader: Compute, once: set[str]) -> bool:
    """Whether an operation can stand in the one that reads it."""
    if len(s.outputs) != 1 or s.keeps is not None or s.outputs[0].name not in once:
        return False
    places = [i for i, name in enumerate(_names_all(reader)) if name == s.outputs[0].name]
    if len(places) != 1 or _source(s) != _source(reader):
        return False
    text = template(reader.op, reader.over)
    if own_kernels(text) or len(OPERATIONS.findall(text)) > 1:
        return False  # these may drop what they are handed before they end
    return text.count(f"{{{places[0]}}}") + text.count("{inputs}") == 1


def _source(s: Compute) -> tuple[object, ...]:
    """The part of the model, and the rule of relevance, that an operation is of."""
    relevance = s.origin.role == "relevance"
    return (s.origin.module, relevance, s.origin.rule if relevance else None)


def _names_all(s: Compute) -> list[str]:
    return [x.name if isinstance(x, Value) else "" for x in s.inputs]
