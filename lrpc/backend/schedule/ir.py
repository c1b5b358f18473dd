"""The schedule: what a program runs, function by function and statement by statement.

Values are those of `lrpc.ir.graph`, with a name and a type. What the forward pass leaves for
relevance lies in the state, in parts: one for each block of the model, and one, "", for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from lrpc.ir.graph import Attr, Rule, Value
from lrpc.ir.types import TensorType

OWN, SAVED, RECOMPUTED, NEW = "own", "saved", "recomputed", "new"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state: the one that a block function is handed (`own`), one that the state
    holds (`saved`), its copy with what is computed again (`recomputed`), or an empty one
    (`new`)."""

    kind: str
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A place in the state: a part of it and a name there."""

    part: Part
    name: str


@dataclass(frozen=True, slots=True)
class Load:
    """What lies in the state, as an operand."""

    entry: Entry
    type: TensorType


Operand = Value | Load


@dataclass(frozen=True, slots=True)
class WeightName:
    """A weight as an attribute of a block function: `name` follows the prefix of its block."""

    name: str


Setting = Attr | WeightName


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a statement comes from: the module path (in a block function, from its block on), the
    role of the node and its rule; and the line that called it first, `file:line`."""

    module: str = ""
    role: str = ""
    rule: Rule | None = None
    source: str = field(default="", compare=False)

    def place(self, prefix: str = "") -> str:
        """Module path and line, in a block whose paths start with `prefix`."""
        module = f"{prefix}{self.module}" if self.module else prefix[:-1]
        return ", ".join(part for part in (module, self.source) if part) or "unknown place"


@dataclass(frozen=True, slots=True)
class Compute:
    """One operation. Its result may be written `over` an operand; it may keep a part of its work
    at an entry of the state, and find it there."""

    op: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Value, ...]
    attrs: tuple[tuple[str, Setting], ...] = ()
    origin: Origin = Origin()
    over: int | None = None
    keeps: Entry | None = None

    def __hash__(self) -> int:  # passes remember bodies: most differ in a name already
        return hash((self.op, self.outputs[0].name, self.over))

    def attr(self, key: str) -> Setting | None:
        """An attribute by name."""
        return next((value for name, value in self.attrs if name == key), None)

    def integer(self, key: str) -> int:
        """An attribute that is an integer."""
        value = self.attr(key)
        if not isinstance(value, int):
            raise TypeError(f"{self.op}.{key} is {value!r}, not an integer")
        return value


@dataclass(frozen=True, slots=True)
class Read:
    """Relevance at a place of the model is handed out, where the caller asks for it."""

    place: str
    inputs: tuple[Operand, ...]
    origin: Origin = Origin()

    def __hash__(self) -> int:
        return hash(self.place)

    @property
    def outputs(self) -> tuple[Value, ...]:
        """It makes nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class Book:
    """A row of the ledger, or as many `times` the same amount. Nothing without a ledger."""

    inputs: tuple[Operand, ...]
    attrs: tuple[tuple[str, Setting], ...]
    origin: Origin = Origin()
    times: int = 1

    def __hash__(self) -> int:
        return hash(tuple(x.entry.name if isinstance(x, Load) else x.name for x in self.inputs))

    @property
    def outputs(self) -> tuple[Value, ...]:
        """It makes nothing."""
        return ()

    def attr(self, key: str) -> Setting | None:
        """An attribute by name."""
        return next((value for name, value in self.attrs if name == key), None)


@dataclass(frozen=True, slots=True)
class Save:
    """A value is put into the state."""

    entry: Entry
    value: Value

    def __hash__(self) -> int:
        return hash((self.entry.name, self.value.name))


@dataclass(frozen=True, slots=True)
class Free:
    """Names of values that are not used any more, and parts that were computed again."""

    values: tuple[str, ...]
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Only:
    """Statements that run with a ledger alone, or without one alone."""

    ledger: bool
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A run of statements that becomes a function: `body` reads `parameters` for `arguments`, and
    the state's `part`. `key` is unique among the blocks of one half.

    `block` is the module path of the part of the model that it computes, "" where it is none. An
    application of a `rule` (what it is called, and its parameters) may lie in another block; it may
    write over the arguments that it is given for good, `gives`.
    """

    key: str
    block: str
    part: Part
    arguments: tuple[Operand, ...]
    parameters: tuple[Value, ...]
    body: tuple[Statement, ...]
    results: tuple[Value, ...] = ()
    over: tuple[int, ...] = ()  # the arguments that go through it some seeds at a time
    rule: str = ""
    gives: tuple[int, ...] = ()

    @property
    def prefix(self) -> str:
        """What names of its weights and module paths start with."""
        return f"{self.block}." if self.block else ""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function; `over` are the arguments that go through it some seeds at a time, and
    it may write over those in `gives`. In a function, `prefix` follows that of its block. `values`
    are the names that graphs and plans have for what the function makes."""

    function: str
    prefix: str | WeightName
    part: Part
    arguments: tuple[Operand, ...]
    results: tuple[Value, ...] = ()
    over: tuple[int, ...] = ()
    gives: tuple[int, ...] = ()
    values: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Recompute:
    """A part of the state is made again: as a copy of what is kept of it, or from nothing
    (`whole`), and then what `run` adds."""

    scope: str
    whole: bool
    run: Block | Call | None


Step = Compute | Read | Book
STEPS = (Compute, Read, Book)  # for isinstance, which takes longer over a union
Statement = Compute | Read | Book | Only | Save | Free | Block | Call | Recompute


@dataclass(frozen=True)
class Function:
    """A function of one half: `sizes`, `forward`, `relevance`, `rule` for the application of one,
    `tail` for the end that several targets have in common and end by calling, `part` for what they
    have in common before it, or `recompute` where relevance makes what the forward pass did not
    keep. With `ledger` it can book rows; after the pass `join` it does so for callers that have
    one."""

    name: str
    parameters: tuple[Value, ...]
    body: tuple[Statement, ...]
    results: tuple[Value, ...] = ()
    ledger: bool = False
    half: str = "forward"

    @property
    def code(self) -> tuple[object, ...]:
        """What it does, whatever it is called."""
        half = self.half if not self.results else ""
        return (self.ledger, self.parameters, self.body, self.results, half == "recompute")


@dataclass(frozen=True)
class Target:
    """The relevance of one target under one composite: a function without and one with ledger, from
    the pass `join` on one for both. `start` is where the state holds the value that relevance
    starts from."""

    name: str
    composite: str
    start: Entry
    functions: tuple[Function, ...]

    @property
    def plain(self) -> Function:
        """What runs without a ledger."""
        return self.functions[0]

    @property
    def with_ledger(self) -> Function:
        """What runs with a ledger."""
        return self.functions[-1]

    def changed(self, change: Callable[[Function], Function]) -> Target:
        """The target with its functions changed."""
        return replace(self, functions=tuple(map(change, self.functions)))


@dataclass(frozen=True)
class Schedule:
    """A whole program: its block functions, its forward pass and its targets. Where it is
    `chunked`, calls take some seeds at a time. What depends on the sizes of images alone is what
    the function `sizes` returns; the forward pass is given it after the images."""

    forward: Function
    targets: tuple[Target, ...]
    functions: tuple[Function, ...] = ()
    chunked: bool = False
    sizes: Function | None = None

    @cached_property
    def by_name(self) -> dict[str, Function]:
        """The block functions."""
        return {f.name: f for f in self.functions}

    def mains(self) -> Iterator[Function]:
        """The main functions, in the order of the program."""
        if self.sizes is not None:
            yield self.sizes
        yield self.forward
        for target in self.targets:
            yield from target.functions
