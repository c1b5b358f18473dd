"""The allocations of a program in the order in which it runs: who holds each, and until when.

A storage lives as long as something holds it: a local of the main function or of a block function,
the state, what is handed out. A block function frees its own values at their last use; what it was
given its caller holds until the call is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from lrpc.backend.memory.effect import Strided
from lrpc.backend.schedule.ir import NEW, RECOMPUTED, Part

OUTSIDE = -1  # the storage of weights and inputs, which the program does not allocate
Place = tuple[str, str]  # a part of the state, and a name there
TensorHeld = tuple[Strided, int]  # a tensor, and the storage that it lies in
Tensors = dict[str, tuple[Strided, ...]]


@dataclass(frozen=True, slots=True)
class Storage:
    """A buffer with its part, and the value and module path that it was made for.

    Parts: `state` is kept for relevance, `output` handed out by the forward pass, `value` a value
    of that pass, `recomputed` one computed again for relevance, `seed` where relevance starts,
    `adjoint` a value of the relevance pass, `result` relevance read, `workspace` held inside one
    operation.
    """

    size: int
    start: int
    end: int
    part: str
    name: str
    module: str
    op: str


@dataclass(slots=True)
class Held:
    """A storage while the program runs."""

    size: int
    start: int
    part: str
    name: str
    module: str
    op: str
    holders: int = 0
    end: int | None = None

    def copy(self) -> Held:
        one = (self.size, self.start, self.part, self.name, self.module, self.op)
        return Held(*one, self.holders, self.end)


@dataclass
class Shelf:
    """A part of the state: its values, what samplings keep there under which name, and the storages
    that it alone holds where it is a copy."""

    values: dict[str, TensorHeld] = field(default_factory=dict)
    tables: dict[str, Tensors] = field(default_factory=dict)
    storages: list[int] = field(default_factory=list)

    def copy(self) -> Shelf:
        """The same values and tables, held by someone else."""
        return Shelf(dict(self.values), {k: dict(v) for k, v in self.tables.items()})


@dataclass
class Log:
    """All storages so far, and the parts of the state."""

    sizes: dict[str, int]
    modules: list[str] = field(default_factory=list)  # where each step so far belongs
    held: list[Held] = field(default_factory=list)
    where: dict[str, TensorHeld] = field(default_factory=dict)  # by the names of the graph
    state: dict[str, Shelf] = field(default_factory=dict)
    copies: dict[str, Shelf] = field(default_factory=dict)

    def copy(self) -> Log:
        """A log that goes on from here."""
        return replace(
            self,
            held=[h.copy() for h in self.held],
            where=dict(self.where),
            sizes=dict(self.sizes),
            modules=list(self.modules),
            state={scope: shelf.copy() for scope, shelf in self.state.items()},
            copies={},
        )

    @property
    def step(self) -> int:
        return len(self.modules)

    def advance(self, module: str = "") -> None:
        """The present step is over; it belonged to `module`."""
        self.modules.append(module)

    # -- storages --------------------------------------------------------------------------------

    def allocate(self, size: int, part: str, name: str, module: str = "", op: str = "") -> int:
        self.held.append(Held(size, self.step, part, name, module, op))
        return len(self.held) - 1

    def hold(self, storage: int) -> None:
        if storage != OUTSIDE:
            self.held[storage].holders += 1

    def drop(self, storage: int, end: int) -> None:
        """One holder less; the last one frees the storage before step `end`."""
        if storage == OUTSIDE:
            return
        found = self.held[storage]
        found.holders -= 1
        if not found.holders:
            found.end = max(end, found.start + 1)

    def work(self, size: int, name: str, module: str = "", op: str = "") -> None:
        """Bytes that are held within the present step alone."""
        if size:
            place = self.allocate(size, "workspace", name, module, op)
            self.held[place].end = self.step + 1

    def storages(self) -> tuple[Storage, ...]:
        """All buffers so far; what is still held lives to the end."""
        return tuple(self.storage(i) for i, h in enumerate(self.held) if h.size)

    def storage(self, index: int) -> Storage:
        """One buffer, by the number that `allocate` gave it."""
        h = self.held[index]
        return Storage(h.size, h.start, h.end or self.step, h.part, h.name, h.module, h.op)

    # -- the state -------------------------------------------------------------------------------

    def shelf(self, part: Part) -> Shelf:
        """A part of the state, or the copy of one."""
        copies = self.copies if part.kind in (RECOMPUTED, NEW) else self.state
        return copies.setdefault(part.scope, Shelf())

    def open(self, scope: str, beside: bool) -> None:
        """A copy of a part of the state, with all that is there where it is `beside` it."""
        self.copies[scope] = self.shelf(Part("saved", scope)).copy() if beside else Shelf()

    def close(self, scope: str) -> None:
        """That copy is gone, with all that it holds alone."""
        for storage in self.copies.pop(scope).storages:
            self.drop(storage, self.step)

    def save(self, part: Part, storage: int) -> None:
        """A part of the state holds a storage."""
        self.hold(storage)
        if part.kind in (RECOMPUTED, NEW):
            self.shelf(part).storages.append(storage)
        elif storage != OUTSIDE:
            self.held[storage].part = "state"


@dataclass(slots=True)
class Given:
    """What a function hands out: relevance read at a place, or a row of the ledger (no `place`);
    with the storage that it lies in, and the layout of what was read."""

    place: str
    kind: Strided
    storage: int


@dataclass
class Frame:
    """The locals of one function: what it can read, and the storages that its own names hold. `own`
    is the part of the state that it was handed; names of weights start with `prefix`; `graph` has
    the names that others know its values by."""

    log: Log
    own: Part
    prefix: str = ""
    names: dict[str, TensorHeld] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)
    graph: dict[str, str] = field(default_factory=dict)

    def bind(self, name: str, kind: Strided, storage: int) -> None:
        """A local name for a tensor."""
        self.log.hold(storage)
        self.names[name] = (kind, storage)
        self.holds[name] = storage

    def delete(self, names: Iterable[str]) -> None:
        """`del` of local names; what was handed in is the caller's."""
        for name in names:
            if name in self.holds:
                self.log.drop(self.holds.pop(name), self.log.step)

    def part(self, part: Part) -> Part:
        """A part of the state as the program has it."""
        return self.own if part.kind == "own" else part


@contextmanager
def frame(
    log: Log, own: Part, prefix: str = "", graph: Mapping[str, str] | None = None
) -> Iterator[Frame]:
    """A function's locals, which are gone when it returns."""
    made = Frame(log, own, prefix, graph=dict(graph or {}))
    yield made
    made.delete(list(made.holds))
