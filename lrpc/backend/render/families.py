"""Functions that differ in sizes alone have one text, which takes the sizes that differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.backend.body import safe
from lrpc.backend.expression import repeats, reshape_form, sizes
from lrpc.backend.quoting import literal
from lrpc.backend.schedule.ir import (
    Book,
    Call,
    Compute,
    Function,
    Load,
    Only,
    Operand,
    Recompute,
    Save,
    Statement,
)
from lrpc.backend.schedule.walk import results, unconditional
from lrpc.ir.types import Sym, TensorType

LETTERS = ("C", "N", "H", "W", "L", "M", "P", "Q", "R", "S", "T", "U", "V", "X", "Y", "Z")


@dataclass(frozen=True)
class ShapeOf:
    """The last extents of a parameter."""

    name: str
    count: int


@dataclass(frozen=True)
class Said:
    """What the text of a function says of one statement: sizes by attribute (of a call: by the
    callee's arguments), and the types of its results."""

    sizes: Mapping[str, str | ShapeOf]
    types: tuple[str, ...]


NOTHING = Said({}, ())


@dataclass
class Family:
    """Functions with one text, by what the first of them is called. `arguments` are the sizes that
    the text takes, with the value of each function; `said` goes with `unconditional(body)`."""

    functions: list[Function] = field(default_factory=list)
    arguments: dict[str, tuple[object, ...]] = field(default_factory=dict)
    said: tuple[Said, ...] = ()

    @property
    def name(self) -> str:
        """What the text is called."""
        return self.functions[0].name

    def given(self, function: str) -> dict[str, object]:
        """The sizes of one of the functions."""
        place = next(i for i, f in enumerate(self.functions) if f.name == function)
        return {name: values[place] for name, values in self.arguments.items()}


def families(functions: Iterable[Function]) -> dict[str, Family]:
    """The family of each function, by name. Functions come after those that they call."""
    found: dict[object, Family] = {}
    of: dict[str, Family] = {}
    for function in functions:
        family = of[function.name] = found.setdefault(_key(function, of), Family())
        family.functions.append(function)
    for family in found.values():
        _say(family, of)
    return of


def alone(function: Function, called: Mapping[str, Family]) -> Family:
    """The text of a function that shares it with no other."""
    family = Family([function])
    _say(family, called)
    return family


# -- which functions have one text -----------------------------------------------------------------


def _key(function: Function, called: Mapping[str, Family]) -> object:
    """What the text of a function says, but for sizes."""
    body = tuple(_statement_key(s, called) for s in function.body)
    given = tuple((v.name, _kind(v.type)) for v in function.parameters)
    returned = tuple(v.name for v in function.results)
    return (function.half, function.ledger, given, body, returned)


def _statement_key(s: Statement, called: Mapping[str, Family]) -> object:
    made = tuple((v.name, _kind(v.type)) for v in results(s))
    if isinstance(s, Compute):
        counted = sizes(s)
        rest = tuple((k, v) for k, v in s.attrs if k not in counted)
        if s.op in ("reshape", "slice"):  # what is left of their sizes is a matter of their types
            rest = tuple((k, v) for k, v in rest if k in ("dim", "step"))
        parts: tuple[object, ...] = tuple((k, _pattern(v)) for k, v in counted.items())
        if s.op == "reshape":  # the same axes, split or joined
            method, axes, _ = reshape_form(s)
            parts = (*parts, method, *axes)
        how = (s.over, s.keeps, repeats(s))
        return (s.op, _operands(s.inputs), made, parts, rest, s.origin, *how)
    if isinstance(s, Call):
        family = id(called[s.function])
        return (family, s.prefix, s.part, _operands(s.arguments), made, s.over, s.gives)
    if isinstance(s, Book):
        return (Book, _operands(s.inputs), s.attrs, s.times, s.origin)
    if isinstance(s, Save):
        return (s.entry, s.value.name)
    if isinstance(s, Only):
        return (s.ledger, tuple(_statement_key(inner, called) for inner in s.body))
    return s


def _operands(operands: Iterable[Operand]) -> tuple[object, ...]:
    return tuple((x.entry if isinstance(x, Load) else x.name, _kind(x.type)) for x in operands)


def _kind(t: TensorType) -> object:
    return (t.dtype, _pattern(t.shape))


def _pattern(value: object) -> object:
    """An attribute but for its numbers."""
    if isinstance(value, tuple):
        return tuple(map(_pattern, value))
    return int if isinstance(value, int) and not isinstance(value, bool) else value


# -- what the text says ----------------------------------------------------------------------------


def _say(family: Family, called: Mapping[str, Family]) -> None:
    """Work out what the text takes, and what it says of each statement."""
    names = {v.name for f in family.functions for v in f.parameters}
    letters: dict[tuple[object, ...], str] = {}
    said = []
    for same in zip(*(unconditional(f.body) for f in family.functions), strict=True):
        found: dict[str, str | ShapeOf] = {}
        for key, values in _counted(same, called).items():
            found[key] = _shape_of(values, family) or _text(key, values, family, names)
        types = tuple(
            _type([v.type for v in made], letters)
            for made in zip(
                *(results(s) if not isinstance(s, Only) else () for s in same), strict=True
            )
        )
        said.append(Said(found, types))
    family.said = tuple(said)


def _counted(
    same: Sequence[Statement], called: Mapping[str, Family]
) -> dict[str, tuple[object, ...]]:
    """The sizes of the same statement in each function, by attribute."""
    same = [s.run if isinstance(s, Recompute) and s.run is not None else s for s in same]
    first = same[0]
    if isinstance(first, Compute):
        found = [sizes(s) for s in same if isinstance(s, Compute)]
    elif isinstance(first, Call) and first.function in called:
        found = [called[s.function].given(s.function) for s in same if isinstance(s, Call)]
    else:
        return {}
    return {key: tuple(sizes[key] for sizes in found) for key in found[0]}


def _shape_of(values: Sequence[object], family: Family) -> ShapeOf | None:
    """The parameter of a rule whose last extents these are in every function."""
    first = values[0]
    if family.functions[0].half != "rule" or not isinstance(first, tuple) or len(first) < 2:
        return None
    for place, parameter in enumerate(family.functions[0].parameters):
        if len(parameter.type.shape) == len(first) + 1 and all(
            function.parameters[place].type.shape[1:] == value
            for function, value in zip(family.functions, values, strict=True)
        ):
            return ShapeOf(parameter.name, len(first))
    return None


def _text(key: str, values: tuple[object, ...], family: Family, taken: set[str]) -> str:
    """The size in the text: what it is in all functions, or an argument."""
    if all(value == values[0] for value in values):
        return literal(values[0])
    if isinstance(values[0], tuple) and any(isinstance(d, Sym) for d in values[0]):
        parts = [_text("size", part, family, taken) for part in zip(*values, strict=True)]
        return f"({', '.join(parts)},)" if len(parts) == 1 else f"({', '.join(parts)})"
    for name, known in family.arguments.items():
        if known == values:
            return name
    name, count = safe(key), 1
    while name in taken:
        count += 1
        name = f"{safe(key)}_{count}"
    taken.add(name)
    family.arguments[name] = values
    return name


def _type(types: Sequence[TensorType], letters: dict[tuple[object, ...], str]) -> str:
    """The type of a value in each function, with a letter for what differs."""
    shape = []
    for extents in zip(*(t.shape for t in types), strict=True):
        if all(extent == extents[0] for extent in extents):
            shape.append(str(extents[0]))
        else:
            count = len(letters)
            letter = LETTERS[count] if count < len(LETTERS) else f"N{count}"
            shape.append(letters.setdefault(extents, letter))
    return f"{types[0].dtype}[{','.join(shape)}]"
