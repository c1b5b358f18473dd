"""A block as a function with names of its own, equal for blocks that do the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lrpc.backend.body import Names, stem
from lrpc.backend.schedule.ir import (
    Block,
    Book,
    Call,
    Compute,
    Free,
    Function,
    Load,
    Only,
    Operand,
    Origin,
    Read,
    Save,
    Setting,
    Statement,
    WeightName,
)
from lrpc.backend.schedule.memo import remembered
from lrpc.backend.schedule.state import names_made
from lrpc.backend.schedule.table import is_weight
from lrpc.ir.graph import Value


def canonical(block: Block, half: str, ledger: bool) -> Function:
    """The function of a block, without a name. Parameters are `x`, or `g` where they are made by
    relevance; other values are called by their names without numbers, which count up anew."""
    relevance = half == "relevance"
    bases = ["g" if relevance and not isinstance(x, Load) else "x" for x in block.arguments]
    return _canonical(
        *(block.prefix, block.parameters, tuple(bases), block.body, block.results, half, ledger)
    )


@remembered()
def _canonical(
    prefix: str,
    parameters: tuple[Value, ...],
    bases: tuple[str, ...],
    body: tuple[Statement, ...],
    results: tuple[Value, ...],
    half: str,
    ledger: bool,
) -> Function:
    made = _Renaming(prefix)
    for value, base in zip(parameters, bases, strict=True):
        made.name(value, base)
    own = tuple(made.known.values())
    statements = tuple(map(made.statement, body))
    return Function("", own, statements, tuple(made.known[v.name] for v in results), ledger, half)


def values_of(block: Block) -> tuple[str, ...]:
    """The names that graphs have for what the function of a block makes, in its order."""
    return names_made(block.body)


@dataclass
class _Renaming:
    """Local names by those of the graph."""

    prefix: str
    names: Names = field(default_factory=Names)
    known: dict[str, Value] = field(default_factory=dict)

    def name(self, value: Value, base: str) -> Value:
        """A local name for a value."""
        self.known[value.name] = found = Value(self.names.fresh(base), value.type)
        return found

    def statement(self, s: Statement) -> Statement:
        """A statement on local names."""
        if isinstance(s, Save):
            return Save(s.entry, self.known[s.value.name])
        if isinstance(s, Free):
            return Free(tuple(self.known[name].name for name in s.values), s.parts)
        if isinstance(s, Only):
            return Only(s.ledger, tuple(map(self.statement, s.body)))
        if isinstance(s, Call):
            return self._call(s)
        assert isinstance(s, (Compute, Book, Read))
        inputs = tuple(map(self._operand, s.inputs))
        origin = self._origin(s.origin)
        if isinstance(s, Book):  # which row it is follows from the order in which they are booked
            attrs = tuple((k, v) for k, v in s.attrs if k not in ("node", "kind"))
            return Book(inputs, attrs, Origin(origin.module, source=origin.source), s.times)
        if isinstance(s, Read):
            return Read(s.place, inputs, origin)
        outputs = tuple(self._made(v) for v in s.outputs)
        attrs = tuple((k, self._setting(v, is_weight(s.op, k))) for k, v in s.attrs)
        return Compute(s.op, inputs, outputs, attrs, origin, s.over, s.keeps)

    def _made(self, value: Value) -> Value:
        known = self.known.get(value.name)  # made under either condition
        return known or self.name(value, stem(value.name))

    def _call(self, s: Call) -> Call:
        """A call, of whose values the results have names that are read."""
        arguments = tuple(map(self._operand, s.arguments))
        results = {v.name: self._made(v) for v in s.results}
        values = tuple(
            results[name].name if name in results else self.names.fresh(stem(name))
            for name in s.values
        )
        prefix = self._setting(s.prefix, True) if s.prefix else s.prefix
        assert isinstance(prefix, (str, WeightName))
        made = tuple(results.values())
        return replace(s, prefix=prefix, arguments=arguments, results=made, values=values)

    def _operand(self, x: Operand) -> Operand:
        return x if isinstance(x, Load) else self.known[x.name]

    def _setting(self, value: Setting, weight: bool) -> Setting:
        prefix = self.prefix
        own = weight and prefix and isinstance(value, str) and value.startswith(prefix)
        return WeightName(str(value).removeprefix(prefix)) if own else value

    def _origin(self, origin: Origin) -> Origin:
        prefix = self.prefix
        if not prefix:
            return origin
        module = origin.module.removeprefix(prefix)
        module = "" if prefix.startswith(f"{module}.") else module
        return Origin(module, origin.role, origin.rule, origin.source)
