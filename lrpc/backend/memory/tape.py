"""The buffers of a program in the order in which it runs: who holds each storage, and until when.

A storage lives as long as something holds it: a local of the main function or of a block function,
the state, what is handed out. A block function frees its own values at their last use; what it was
given its caller holds until the call is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.backend.keeping import Place
from lrpc.backend.memory.effect import Effect, Effects, Result, Strided, effect_of
from lrpc.backend.memory.liveness import Buffer
from lrpc.errors import TraceError
from lrpc.ir.graph import Node

#: What a buffer is: kept for relevance, handed out by the forward pass, a value of the forward
#: pass, one computed again for relevance, where relevance starts, a value of the relevance pass,
#: relevance read, or held inside one operation.
PARTS = ("state", "output", "value", "again", "seed", "adjoint", "result", "workspace")

OUTSIDE = -1  # the storage of weights and inputs, which the program does not allocate
FINITE = "torch.stack(x[0].aminmax()).isfinite().all()"  # what loading.check_finite allocates


@dataclass(frozen=True, slots=True)
class Storage:
    """A buffer with its part, and the value and module path that it was made for."""

    size: int
    start: int
    end: int
    part: str
    name: str
    module: str
    op: str

    @property
    def buffer(self) -> Buffer:
        """For the planner, which counts steps and bytes alone."""
        return Buffer(self.name, self.size, self.start, self.end)


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
        return Held(
            self.size,
            self.start,
            self.part,
            self.name,
            self.module,
            self.op,
            self.holders,
            self.end,
        )


@dataclass
class Shelf:
    """A dict in the place of a part of the state: the storages that it holds beside those of that
    part, and what samplings kept there when it was opened."""

    kept: dict[Place, dict[str, tuple[Strided, ...]]]
    storages: list[int] = field(default_factory=list)


@dataclass
class Tape:
    """Runs statements one after the other and notes what they allocate."""

    effects: Effects
    weights: Mapping[str, Strided]
    sizes: dict[str, int]
    modules: list[str] = field(default_factory=list)  # where each step so far belongs
    held: list[Held] = field(default_factory=list)
    where: dict[str, tuple[Strided, int]] = field(default_factory=dict)  # by value
    kept: dict[Place, dict[str, tuple[Strided, ...]]] = field(default_factory=dict)
    shelves: dict[str, Shelf] = field(default_factory=dict)
    apart: bool = False  # nothing is written over an operand

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

    def storages(self) -> tuple[Storage, ...]:
        """All buffers so far; what is still held lives to the end."""
        return tuple(self.storage(i) for i, h in enumerate(self.held) if h.size)

    def storage(self, index: int) -> Storage:
        """One buffer, by the number that `allocate` gave it."""
        h = self.held[index]
        return Storage(h.size, h.start, h.end or self.step, h.part, h.name, h.module, h.op)

    # -- statements ------------------------------------------------------------------------------

    def check(self, value: tuple[Strided, int], name: str) -> None:
        """A `check_finite` of a value."""
        if value[0].dtype.is_floating_point:
            self.work(effect_of(FINITE, (value[0],)).most, f"check {name}")
        self.advance()

    def work(self, size: int, name: str, module: str = "", op: str = "") -> None:
        """Bytes that are held within the present step alone."""
        if size:
            place = self.allocate(size, "workspace", name, module, op)
            self.held[place].end = self.step + 1

    def node(
        self, node: Node, part: str, keeps: Place | None = None, over: int | None = None
    ) -> list[int]:
        """Run one node, which `keeps` a part of its work in the state, and writes its result `over`
        an operand: the storages of its results, which nobody holds yet."""
        over = None if self.apart else over
        inputs = [self.where[v.name] for v in node.inputs]
        try:
            effect = self.effects.of_node(
                node,
                [kind for kind, _ in inputs],
                self.weights.__getitem__,
                self.sizes,
                "" if keeps is None else keeps[1],
                () if keeps is None else tuple(self.kept.get(keeps, {}).items()),
                over,
            )
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise self._not_run(node, error) from error
        name = node.outputs[0].name if node.outputs else str(node.attr("name") or node.op)
        module = node.loc.module
        self.work(effect.workspace, name, module, node.op)
        new = [self.allocate(size, part, name, module, node.op) for size in effect.new]
        places = self._places(effect.results, [s for _, s in inputs], new)
        if keeps is not None:
            self._keep(effect, keeps, new)
        for value, result, place in zip(node.outputs, effect.results, places, strict=False):
            self.where[value.name] = (result.kind, place)
            if result.new is not None or over is not None:
                self.held[place].name = value.name
        if not node.outputs:  # a read or a record
            self.where[f"{node.op} {name} {self.step}"] = (effect.results[0].kind, places[0])
        return places

    def _not_run(self, node: Node, error: Exception) -> TraceError:
        count, reason = self.sizes["B"], str(error).splitlines()[0]
        images = "1 image" if count == 1 else f"{count} images"
        return TraceError(
            f"{node.op} at {node.loc} does not run for {images}: {reason}; a program must take any"
            " number of images"
        )

    def _places(
        self, results: Sequence[Result], inputs: Sequence[int], new: Sequence[int]
    ) -> list[int]:
        return [
            new[r.new] if r.new is not None else OUTSIDE if r.shares is None else inputs[r.shares]
            for r in results
        ]

    def _keep(self, effect: Effect, place: Place, new: Sequence[int]) -> None:
        """The state holds what was put into it."""
        for name, parts in effect.kept:
            self.kept.setdefault(place, {})[name] = tuple(part.kind for part in parts)
            for part in parts:
                if part.new is not None:
                    self.save(place[0], new[part.new])

    def label(self, storage: int, part: str) -> None:
        """Say which part a storage is of, weights and inputs apart."""
        if storage != OUTSIDE:
            self.held[storage].part = part

    # -- parts of the state that come and go -----------------------------------------------------

    def open_shelf(self, scope: str, beside: bool = False) -> None:
        """A dict in the place of a part of the state, with all that is there where it is `beside`
        it."""
        there = [place for place in self.kept if place[0] == scope] if beside else []
        self.shelves[scope] = Shelf({place: dict(self.kept[place]) for place in there})

    def save(self, scope: str, storage: int) -> None:
        """The state, or the dict in the place of its part `scope`, holds a storage."""
        self.hold(storage)
        if scope in self.shelves:
            self.shelves[scope].storages.append(storage)
        else:
            self.label(storage, "state")

    def close_shelf(self, scope: str) -> None:
        """That dict is gone, with all that it holds alone."""
        shelf = self.shelves.pop(scope)
        for storage in shelf.storages:
            self.drop(storage, self.step)
        for place in [place for place in self.kept if place[0] == scope]:
            del self.kept[place]
        self.kept |= shelf.kept
