"""Which memory the statements of a function allocated themselves, and who can see it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from lrpc.backend.schedule.ir import Call, Compute, Function, Operand, Read, Statement, Step
from lrpc.backend.schedule.table import SAME_MEMORY, allocates
from lrpc.backend.schedule.walk import operands, unconditional
from lrpc.ir.graph import Value


@dataclass
class Memory:
    """Allocations by number, in the order of the statements; told apart from what a verifier must
    take for somebody else's: parameters, the state, results of calls."""

    of: dict[str, int] = field(default_factory=dict)  # value → the allocation that it lies in
    parts: dict[str, set[int]] = field(default_factory=dict)  # views, perhaps of these
    dead: set[str] = field(default_factory=set)
    written: set[int] = field(default_factory=set)  # allocations that something was written over
    outside: set[int] = field(default_factory=set)  # allocations that others see as well
    lent: set[int] = field(default_factory=set)  # those of the caller, who goes on with them
    count: int = 0

    def note(self, s: Step) -> None:
        """A statement has run."""
        if not isinstance(s, Compute):
            if isinstance(s, Read) and len(s.inputs) == 1:
                self._seen(x.name for x in s.inputs if isinstance(x, Value))
            return
        if s.over is None and len(s.outputs) == 1 and allocates(s.op):
            self.count += 1
            self.of[s.outputs[0].name] = self.count
            return
        names = [x.name for x in s.inputs if isinstance(x, Value)]
        made = [v.name for v in s.outputs]
        if s.over is not None:
            root = self.of[s.inputs[s.over].name]  # type: ignore[union-attr]
            self.written.add(root)
            self.dead |= {n for n, own in self.of.items() if own == root}
            self.dead |= {n for n, roots in self.parts.items() if root in roots}
            self.of[made[0]] = root
        elif s.op in SAME_MEMORY and names and names[0] in self.of:
            self.of[made[0]] = self.of[names[0]]
        else:
            roots = {self.of[n] for n in names if n in self.of}
            roots |= {root for n in names for root in self.parts.get(n, ())}
            self.parts.update((name, roots) for name in made)

    def gone(self, name: str) -> bool:
        """Whether something else was written where a value lay."""
        return name in self.dead

    def owns(self, name: str) -> bool:
        """Whether a value lies in memory that the function allocated and nobody else sees."""
        root = self.of.get(name)
        return root is not None and root not in self.outside and root not in self.lent

    def shared(self, s: Compute, name: str) -> bool:
        """Whether a statement reads the memory of a value by another operand as well."""
        root = self.of[name]
        names = [x.name for x in s.inputs if isinstance(x, Value)]
        return sum(self.of.get(n) == root or root in self.parts.get(n, ()) for n in names) > 1

    def seen(self, name: str) -> None:
        """Others see a value: the state, who asked for relevance."""
        self._seen([name])

    def _seen(self, names: Iterable[str]) -> None:
        for name in names:
            self.outside |= {self.of[name]} if name in self.of else set()
            self.outside |= self.parts.get(name, set())

    def given(self, names: Sequence[str], gives: Collection[int]) -> None:
        """A function begins: `names` are its parameters, of which those at `gives` are its own."""
        for place, name in enumerate(names):
            self.count += 1
            self.of[name] = self.count
            self.lent |= {self.count} if place not in gives else set()

    def called(
        self,
        inside: Memory,
        arguments: Sequence[str | None],
        gives: Collection[int],
        results: Mapping[str, str],
    ) -> None:
        """A function was called, which ends with the memory `inside`; `results` have names here and
        there. What it has written over is gone here too."""
        own: dict[int, set[int]] = {}  # allocations there → those here
        for place, name in enumerate(arguments, 1):
            found = {self.of[name]} if name in self.of else self.parts.get(name or "", set())
            own[place] = set(found)
            self.outside |= found if place in inside.outside else set()
        given = {root for i in gives if i + 1 in inside.written for root in own[i + 1]}
        self.written |= given
        self.dead |= {n for n, root in self.of.items() if root in given}
        self.dead |= {n for n, roots in self.parts.items() if roots & given}
        self.dead |= {name for name, there in results.items() if inside.gone(there)}
        for name, there in results.items():
            root = inside.of.get(there)
            roots = {root} if root is not None else inside.parts.get(there, set())
            for new in roots - own.keys():
                self.count += 1
                own[new] = {self.count}
            if root is not None and len(own[root]) == 1 and root not in inside.outside:
                (self.of[name],) = own[root]
            else:
                self.parts[name] = {x for r in roots for x in own[r]}


def written_over(
    arguments: Sequence[Operand],
    body: Iterable[Statement],
    functions: Mapping[str, Function] = MappingProxyType({}),
) -> tuple[int, ...]:
    """The arguments, by place, that statements write over; `functions` are those that they call."""
    written = _roots(arguments, body, functions)[1]
    found = (isinstance(x, Value) and x.name in written for x in arguments)
    return tuple(i for i, over in enumerate(found) if over)


def _roots(
    arguments: Sequence[Operand], body: Iterable[Statement], functions: Mapping[str, Function]
) -> tuple[dict[str, str], set[str]]:
    """In which argument's memory values lie, as far as they do, and which are written over."""
    root = {x.name: x.name for x in arguments if isinstance(x, Value)}
    written = set[str]()
    for s in unconditional(body):
        names = [x.name if isinstance(x, Value) else "" for x in operands(s)]
        if isinstance(s, Compute) and s.over is not None:
            written.add(root.get(names[s.over], ""))
            root[s.outputs[0].name] = root.get(names[s.over], "")
        elif isinstance(s, Compute) and s.op in SAME_MEMORY and names[0] in root:
            root[s.outputs[0].name] = root[names[0]]
        elif isinstance(s, Call):
            written |= {root.get(names[i], "") for i in s.gives}
            if (called := functions.get(s.function)) is not None:
                inside = _roots(called.parameters, called.body, functions)[0]
                place = {v.name: names[i] for i, v in enumerate(called.parameters)}
                for made, there in zip(s.results, called.results, strict=False):
                    root[made.name] = root.get(place.get(inside.get(there.name, ""), ""), "")
    return root, written
