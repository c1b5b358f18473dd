"""Which values have no name in the text: they stand in the one expression that reads them.

A value that is read once, by the next operation, is computed within it. What it holds is freed at
the same moment as a name would be, so nothing changes in memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import takewhile

from lrpc.backend.schedule.ir import (
    RECOMPUTED,
    Book,
    Compute,
    Free,
    Function,
    Load,
    Only,
    Operand,
    Save,
    Statement,
    WeightName,
)
from lrpc.backend.schedule.table import is_weight, template
from lrpc.backend.schedule.walk import operands, results, unconditional
from lrpc.backend.schedule.words import own_kernels
from lrpc.ir.graph import Value
from lrpc.ir.ops import View, views

VIEWS = views(*View)
MOST = 4  # expressions within one another
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
        self, body: Sequence[Statement], once: set[str], sizes: dict[str, int]
    ) -> tuple[Statement, ...]:
        found: list[Statement] = []
        for at, s in enumerate(body):
            if isinstance(s, Only):
                found.append(replace(s, body=self._body(s.body, once, sizes)))
                continue
            before = found[-1] if found else None
            found.append(s)
            if isinstance(s, Compute | Book):
                after = takewhile(lambda x: isinstance(x, Free), body[at + 1 :])
                dies = {name for x in after if isinstance(x, Free) for name in x.values}
                self._into(found, once, sizes, dies)
            elif isinstance(s, Free):
                found[-1] = s = Free(tuple(n for n in s.values if n not in self.within), s.parts)
                if isinstance(before, Free):
                    found[-2:] = [Free((*before.values, *s.values), (*before.parts, *s.parts))]
            elif isinstance(s, Save) and isinstance(before, Free):  # it takes no memory
                found[-2:] = [s, before]
        return tuple(found)

    @cached_property
    def partly(self) -> frozenset[str]:
        """The values that are made under a condition, or freed where there is no ledger."""
        found = set[str]()
        for s in self.body:
            if isinstance(s, Only):
                found |= {v.name for x in s.body for v in results(x)}
                freed = (x.values for x in s.body if isinstance(x, Free) and not s.ledger)
                found |= {name for names in freed for name in names}
        return frozenset(found)

    def only_books(self, body: Sequence[Statement]) -> bool:
        """Whether statements do nothing but book products of weights and of values that are there
        without a ledger as well."""
        return all(
            (isinstance(s, Book) and not any(self._partly(x) for x in s.inputs))
            or s == Free(())
            or (isinstance(s, Compute) and s.outputs[0].name in self.within and self._of_weights(s))
            for s in body
        )

    def _partly(self, x: Operand) -> bool:
        """Whether an operand may be a value that is made with a ledger alone, and has a name."""
        if isinstance(x, Load):
            return x.entry.part.kind == RECOMPUTED
        return isinstance(x, Value) and x.name in self.partly and x.name not in self.within

    def _of_weights(self, s: Compute) -> bool:
        """Whether an operation takes no memory: it is a weight, or a view of one."""
        if s.op == "constant":
            return True
        inner = [self.within.get(x.name) for x in s.inputs if isinstance(x, Value)]
        return (
            s.op in VIEWS and len(s.inputs) == 1 and all(x and self._of_weights(x) for x in inner)
        )

    def _into(
        self, found: list[Statement], once: set[str], sizes: dict[str, int], dies: set[str]
    ) -> None:
        """Take into the last statement the operations before it that can stand there, the last one
        first; `dies` are the values that are freed next."""
        reader = found.pop()
        assert isinstance(reader, Compute | Book)
        quiet = isinstance(reader, Compute) and (reader.over is not None or reader.op in VIEWS)
        behind: list[str] = []
        size = 1
        end, place = len(found), len(reader.inputs)
        while True:
            freed, start = self._between(found, end)
            s = found[start - 1] if start else None
            if not isinstance(s, Compute) or not self._stands(s, reader, place, once, dies):
                break
            seen = 0 if s.op in VIEWS else s.over  # its memory is that of the result
            base = s.inputs[seen] if seen is not None else None
            own = {base.name} if isinstance(base, Value) else set[str]()
            name, count = s.outputs[0].name, sizes.get(s.outputs[0].name, 1)
            if size + count > MOST or not (quiet or own.issuperset(freed)):
                break
            self.within[name], size = s, size + count
            found[start:end] = [x for x in found[start:end] if not isinstance(x, Free)]
            behind = [*freed, *behind]
            end, place, quiet = start - 1, _place(reader.inputs, name), False
        if isinstance(reader, Compute):
            sizes[reader.outputs[0].name] = size
        found += [reader, *([Free(tuple(behind))] if behind else [])]

    def _between(self, found: Sequence[Statement], end: int) -> tuple[list[str], int]:
        """What is freed right before a place, and from where on; what stands in other expressions
        is passed over."""
        freed: list[str] = []
        while end:
            s = found[end - 1]
            if isinstance(s, Free) and not s.parts:
                freed = [*s.values, *freed]
            elif not isinstance(s, Compute) or s.outputs[0].name not in self.within:
                break
            end -= 1
        return freed, end

    def _stands(
        self, s: Compute, reader: Compute | Book, end: int, once: set[str], dies: set[str]
    ) -> bool:
        """Whether an operation can stand in the statement that reads it, before the operand `end`,
        which is worked out after it."""
        name = s.outputs[0].name
        if name not in once or s.keeps is not None or not _place(reader.inputs, name) < end:
            return False
        if isinstance(reader, Book):
            return name in dies or self._of_weights(s)
        return _fits(s, reader)


def _fits(s: Compute, reader: Compute) -> bool:
    """Whether an operation can stand in the text of the one that reads it."""
    if len(s.outputs) != 1 or not (_source(s) == _source(reader) or tells_module(s, reader)):
        return False
    text = template(reader.op, reader.over)
    if own_kernels(text) or len(OPERATIONS.findall(text)) > 1:
        return False  # these may drop what they are handed before they end
    place = _place(reader.inputs, s.outputs[0].name)
    return text.count(f"{{{place}}}") + text.count("{inputs}") == 1


def tells_module(s: Compute, reader: Compute | None = None) -> bool:
    """Whether the names of its weights say which module of the model an operation is of; and, with
    `reader`, that no rule made either."""
    if s.origin.rule and s.origin.role == "relevance":
        return False
    if reader is not None and reader.origin.rule and reader.origin.role == "relevance":
        return False
    path = f"{s.origin.module}."
    return bool(s.origin.module) and any(name.startswith(path) for name in weight_names(s))


def weight_names(s: Compute) -> Iterable[str]:
    """The names of the weights of an operation, without the prefix of its block."""
    for key, value in s.attrs:
        if is_weight(s.op, key) and value is not None:
            yield value.name if isinstance(value, WeightName) else str(value)


def _source(s: Compute) -> tuple[object, ...]:
    """The part of the model, and the rule of relevance, that an operation is of."""
    relevance = s.origin.role == "relevance"
    return (s.origin.module, relevance, s.origin.rule if relevance else None)


def _place(inputs: Sequence[Operand], name: str) -> int:
    """Where a value is among operands; behind them where it is not there exactly once."""
    places = [i for i, x in enumerate(inputs) if isinstance(x, Value) and x.name == name]
    return places[0] if len(places) == 1 else len(inputs)
