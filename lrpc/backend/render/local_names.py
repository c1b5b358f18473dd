"""What the values of a function are called in its text, and which of them need no `del`.

A value that dies with a statement hands its name on to what the statement makes, where both are of
one kind: relevance is called `g` all the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lrpc.backend.body import safe, stem
from lrpc.backend.emission import EMISSION
from lrpc.backend.render.inlining import Inlined
from lrpc.backend.schedule.ir import (
    Call,
    Compute,
    Free,
    Function,
    Only,
    Operand,
    Save,
    Statement,
    WeightName,
)
from lrpc.backend.schedule.walk import operands, results, unconditional
from lrpc.ir.graph import Value
from lrpc.ir.ops import TABLE, View, views

VIEWS = views(*View)


@dataclass
class LocalNames:
    """The names of one function's values; `taken` are not for them. `rebound` are those whose names
    others have taken over, and those that the end of the function frees."""

    function: Function
    taken: set[str]
    within: dict[str, Compute]  # what stands in other expressions
    handed: Mapping[str, Sequence[int]]
    names: dict[str, str] = field(default_factory=dict)
    rebound: set[str] = field(default_factory=set)
    makers: Counter[str] = field(default_factory=Counter)
    bases: dict[str, str] = field(default_factory=dict)
    heirs: dict[str, str] = field(default_factory=dict)  # whose name each value has taken over
    shared: dict[str, str] = field(default_factory=dict)  # the name for a value and its heirs
    _depth: dict[str, int] = field(default_factory=dict)  # of conditions, where each was made

    @staticmethod
    def of(
        function: Function,
        written: Inlined,
        taken: Collection[str],
        handed: Mapping[str, Sequence[int]],
    ) -> LocalNames:
        """The names for a function; `handed` are the arguments that others have for good."""
        first = LocalNames(function, set(taken), written.within, handed)
        first._give(written.body)
        found = replace(first, taken=set(taken), names={}, rebound=set(), _depth={})
        found.shared = {root: min(bases, key=_telling) for root, bases in first._chains().items()}
        found._give(written.body)
        return found

    def _give(self, body: Sequence[Statement]) -> None:
        steps = (s for s in unconditional(self.function.body) if isinstance(s, (Compute, Call)))
        self.makers = Counter(v.name for s in steps for v in results(s))
        for value in self.function.parameters:
            self.bases[value.name] = self._base_of(value)
            self._name(value, 0)
        self._body(body, 0)
        self._end(body)

    def _chains(self) -> dict[str, list[str]]:
        """What the values that have one name would be called, by the first of them."""
        found: dict[str, list[str]] = {}
        for name, old in self.heirs.items():
            root = old
            while root in self.heirs:
                root = self.heirs[root]
            found.setdefault(root, [self.bases[root]]).append(self.bases[name])
        own = {v.name for v in self.function.parameters}
        return {root: bases for root, bases in found.items() if root not in own}

    def _body(self, body: Sequence[Statement], depth: int) -> None:
        for place, s in enumerate(body):
            if isinstance(s, Only):
                self._body(s.body, depth + 1 if s.ledger else depth + 2)
            elif isinstance(s, Free):
                for name in s.values:
                    both = depth and self.makers[name] > 1  # the other condition may read on
                    if name not in self.rebound and self._depth[name] == depth and not both:
                        self.taken.discard(self.names[name])
            elif isinstance(s, (Compute, Call)):
                saved = (x for x in body[place + 1 :] if not isinstance(x, Save))
                after = next(saved, None)
                dying = set(after.values) if isinstance(after, Free) else set()
                if isinstance(s, Call):
                    over = (s.arguments[i] for i in self.handed.get(s.function, ()))
                    gone = {x.name for x in over if isinstance(x, Value)}
                    self.taken -= {self.names[name] for name in gone}
                self._made(s, dying, depth)

    def _operands(self, s: Compute | Call) -> Iterator[Operand]:
        """What a statement reads by name, in the expressions that stand in it as well."""
        for x in operands(s):
            if isinstance(x, Value) and x.name in self.within:
                yield from self._operands(self.within[x.name])
            else:
                yield x

    def _made(self, s: Compute | Call, dying: set[str], depth: int) -> None:
        for value in results(s):
            if value.name in self.within:
                continue
            if value.name in self.names:  # made under the other condition as well
                continue
            base = self.bases[value.name] = self._base_of(value, s)
            same = self._same_memory(s)
            heir = (
                x.name
                for x in self._operands(s)
                if isinstance(x, Value)
                and x.name in dying
                and self._depth[x.name] == depth
                and self.makers[x.name] <= 1  # else the other condition names it so too
                and (self.bases[x.name] == base or x == same)
            )
            old = next(heir, None) if self.makers[value.name] == 1 else None
            if old is None:
                self._name(value, depth)
                continue
            self.names[value.name], self._depth[value.name] = self.names[old], depth
            self.rebound.add(old)
            self.heirs[value.name] = old
            dying.discard(old)

    def _same_memory(self, s: Compute | Call) -> Operand | None:
        """The operand whose memory the result of an expression has: it is written over, or seen."""
        while isinstance(s, Compute):
            place = 0 if s.op in VIEWS else s.over
            if place is None:
                return None
            x = s.inputs[place]
            if not isinstance(x, Value) or x.name not in self.within:
                return x
            s = self.within[x.name]
        return None

    def _name(self, value: Value, depth: int) -> None:
        base = safe(self.shared.get(value.name) or self.bases[value.name])
        name, count = base, 1
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        self.names[value.name], self._depth[value.name] = name, depth

    def _base_of(self, value: Value, maker: Compute | Call | None = None) -> str:
        """What a value is called but for a number."""
        if isinstance(maker, Compute) and maker.op == "constant":
            weight = maker.attr("weight")
            name = weight.name if isinstance(weight, WeightName) else str(weight)
            return name.split("@")[0].rpartition(".")[2] or "weight"
        if (
            self.function.half != "forward"
            and self.function.half != "recompute"
            and value.type.seeded
        ):
            if self.function.half != "relevance":
                return "g"
            mask = value.name.startswith("mask_")  # of a condition, called after its place
            return value.name if mask else "seed" if stem(value.name) == "seed" else "g"
        base = stem(value.name).removesuffix("_recomputed")
        if base.startswith("r_"):
            base = base.removeprefix("r_")
            base = EMISSION[base].called or base if base in EMISSION else base
        return base

    def _end(self, body: Sequence[Statement]) -> None:
        """What is freed last needs no `del`."""
        for s in reversed(body):
            if isinstance(s, Free):
                self.rebound.update(s.values)
            elif isinstance(s, Only) and all(isinstance(x, Free) for x in s.body):
                self.rebound.update(n for x in s.body if isinstance(x, Free) for n in x.values)
            else:
                return


def _telling(name: str) -> tuple[bool, int]:
    """Orders names: those that say more than an operation first, then short ones."""
    return any(name.endswith(op) for op in (name.rpartition("_")[2], name) if op in TABLE), len(
        name
    )
