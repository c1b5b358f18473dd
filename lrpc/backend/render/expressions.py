"""The texts of what the statements of one function read and compute."""

from __future__ import annotations

from dataclasses import dataclass

from lrpc.backend.expression import render
from lrpc.backend.quoting import quoted
from lrpc.backend.render.families import NOTHING, Family, Said
from lrpc.backend.render.inlining import Inlined
from lrpc.backend.render.layout import is_atom
from lrpc.backend.render.local_names import LocalNames
from lrpc.backend.render.texts import (
    Texts,
    follows,
    pair,
    prefixes,
    saved_parts,
    stands_alone,
    weight,
)
from lrpc.backend.schedule.ir import (
    NEW,
    OWN,
    RECOMPUTED,
    Compute,
    Entry,
    Function,
    Load,
    Operand,
    Part,
    WeightName,
)
from lrpc.backend.schedule.table import template
from lrpc.backend.schedule.walk import unconditional
from lrpc.ir.graph import Value


@dataclass
class Expressions:
    """The expressions of a function, of which its family says the sizes."""

    function: Function
    family: Family
    texts: Texts

    def __post_init__(self) -> None:
        own = {*self.texts.taken, *self.family.arguments, *self.texts.parts.values()}
        self.saved = saved_parts(self.function, self.texts.words, own)
        own |= self.saved.names
        self.prefixes = prefixes(self.function, self.texts, own)
        own |= self.prefixes.names
        self.written = Inlined.of(self.function)
        self.local = LocalNames.of(self.function, self.written, own, self.texts.handed)
        self._said = self._sizes()

    def name(self, value: Value) -> str:
        """What a value is called."""
        return self.local.names[value.name]

    def _sizes(self) -> dict[int, Said]:
        """What the family says of each statement, by its id."""
        return dict(zip(map(id, unconditional(self.function.body)), self.family.said, strict=True))

    def _expression(self, s: Compute) -> str:
        kept = f", {self._part(s.keeps.part)}, {quoted(s.keeps.name)}" if s.keeps else ""
        pattern = template(s.op, s.over)
        inputs = []
        for place, x in enumerate(s.inputs):
            text = self._operand(x)
            if isinstance(x, Value) and x.name in self.written.within:
                text = text if is_atom(text) or stands_alone(pattern, place) else f"({text})"
            inputs.append(text)
        said = self._texts(self._said.get(id(s), NOTHING))
        return render(s, inputs, weight, kept, s.over, said, pair)

    def _texts(self, said: Said) -> dict[str, str]:
        """The texts of sizes."""
        return {
            key: size if isinstance(size, str) else f"{self.local.names[size.name]}.shape[1:]"
            for key, size in said.sizes.items()
        }

    def _operand(self, x: Operand) -> str:
        if isinstance(x, Load):
            return self._entry(x.entry)
        within = self.written.within.get(x.name)
        return self._expression(within) if within else self.name(x)

    def _entry(self, entry: Entry) -> str:
        return f"{self._part(entry.part)}[{quoted(entry.name)}]"

    def _part(self, part: Part) -> str:
        if part.kind == OWN or (self.function.half == "forward" and not part.scope):
            return "s"
        if part.kind == NEW:
            return "{}"
        return (
            self.texts.parts[part.scope]
            if part.kind == RECOMPUTED
            else self.saved.texts[part.scope]
        )

    def _prefix(self, prefix: str | WeightName) -> str:
        """What the names of weights start with."""
        if isinstance(prefix, WeightName):
            return follows(prefix.name)
        return self.prefixes.texts.get(prefix) or quoted(prefix)
