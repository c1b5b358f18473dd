"""Which values have no name in the text: they stand in the one expression that reads them.

A value that is read once, by the next operation, is computed within it. What it holds is freed at
the same moment as a name would be, so nothing changes in memory.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lrpc.backend.schedule.ir import (
    Book,
    Compute,
    Free,
    Function,
    Only,
    Operand,
    Save,
    Statement,
    WeightName,
)
from lrpc.backend.schedule.table import is_weight, template
from lrpc.backend.schedule.walk import operands, unconditional
from lrpc.backend.schedule.words import own_kernels
from lrpc.ir.graph import Value
from lrpc.ir.ops import View, views

VIEWS = views(*View)
DEEPEST = 3  # expressions within one another
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
        for s, after in zip(body, [*body[1:], None], strict=True):
            if isinstance(s, Only):
                found.append(replace(s, body=self._body(s.body, once, deep)))
                continue
            before = found[-1] if found else None
            found.append(s)
            if isinstance(s, Compute | Book):
                dies = set(after.values) if isinstance(after, Free) else set[str]()
                self._into(found, once, deep, dies)
            elif isinstance(s, Free):
                found[-1] = s = Free(tuple(n for n in s.values if n not in self.within), s.parts)
                if isinstance(before, Free):
                    found[-2:] = [Free((*before.values, *s.values), (*before.parts, *s.parts))]
            elif isinstance(s, Save) and isinstance(before, Free):  # it takes no memory
                found[-2:] = [s, before]
        return tuple(found)

    def _of_weights(self, s: Compute) -> bool:
        """Whether an operation takes no memory: it is a weight, or a view of one."""
        if s.op == "constant":
            return True
        inner = [self.within.get(x.name) for x in s.inputs if isinstance(x, Value)]
        return (
            s.op in VIEWS and len(s.inputs) == 1 and all(x and self._of_weights(x) for x in inner)
        )

    def _into(
        self, found: list[Statement], once: set[str], deep: dict[str, int], dies: set[str]
    ) -> None:
        """Take into the last statement the operation before it, where it can stand there; `dies`
        are the values that are freed next."""
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
        if not isinstance(s, Compute) or not isinstance(reader, Compute | Book):
            return
        own = {s.inputs[s.over].name} if s.over is not None else set()  # type: ignore[union-attr]
        if isinstance(reader, Compute) and (reader.over is not None or reader.op in VIEWS):
            own |= set(freed)  # it takes no memory, so they may be freed behind it
        depth = 1 + max((deep.get(n, 0) for n in _names(s)), default=0)
        name = s.outputs[0].name
        if not set(freed) <= own or depth > DEEPEST or name not in once or s.keeps is not None:
            return
        if _places(reader.inputs, name) != 1:
            return
        if isinstance(reader, Book):
            if name not in dies and not self._of_weights(s):
                return
        elif not _fits(s, reader):
            return
        self.within[name], deep[name] = s, depth
        rest = [Free(tuple(freed))] if freed else []
        found[place:] = [s, reader, *rest]


def _names(s: Compute | Book) -> Iterable[str]:
    return (x.name for x in s.inputs if isinstance(x, Value))


def _fits(s: Compute, reader: Compute) -> bool:
    """Whether an operation can stand in the text of the one that reads it."""
    if len(s.outputs) != 1 or not (_source(s) == _source(reader) or tells_module(s, reader)):
        return False
    name = s.outputs[0].name
    text = template(reader.op, reader.over)
    if own_kernels(text) or len(OPERATIONS.findall(text)) > 1:
        return False  # these may drop what they are handed before they end
    place = next(i for i, x in enumerate(reader.inputs) if isinstance(x, Value) and x.name == name)
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


def _places(inputs: Iterable[Operand], name: str) -> int:
    """How often a value is among operands."""
    return sum(isinstance(x, Value) and x.name == name for x in inputs)
