"""Where the entries of a value come from, through operations that only move them.

An axis is made of parts: digits of the axes of a source, the slowest first. Reshapes join and split
them, permutations reorder them, slices cut them. It is exact at all sizes: nothing is enumerated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import mul

from lrpc.ir.extents import NotInSteps
from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.ops import View, views
from lrpc.ir.types import Dim, Sym, concrete

MOVES = views(View.IN_ORDER, View.PERMUTED, View.REPEATED, View.PART)
REPEATED = "repeated"
#: Sizes by which extents are compared where they are not equal.
EXAMPLE = {"B": 7919, "K": 104729}


@dataclass(frozen=True)
class Part:
    """Of the places along `axis`, place // step % extent; `axis` is one of the source by its
    number, what a cut leaves of a part, or has a name."""

    axis: int | str | Cut
    step: Dim
    extent: Dim


@dataclass(frozen=True)
class Cut:
    """`extent` places of a part, from `start` on."""

    of: Part
    start: int
    extent: int

    @property
    def part(self) -> Part:
        """What is left."""
        return Part(self, 1, self.extent)


@dataclass(frozen=True)
class Layout:
    """The parts of each axis, and the cuts that were made. Axes of extent 1 have no parts."""

    dims: tuple[tuple[Part, ...], ...]
    cuts: tuple[Cut, ...] = ()

    @staticmethod
    def of(shape: Sequence[Dim], names: Sequence[str] = ()) -> Layout:
        """That of a source: its axes, by number or name."""
        axes: list[int | str] = [*names] if names else [*range(len(shape))]
        parts = zip(axes, shape, strict=True)
        return Layout(tuple(() if n == 1 else (Part(axis, 1, n),) for axis, n in parts))

    def moved(self, node: Node) -> Layout | None:
        """What one of `MOVES` makes of it; None where that does not go by parts."""
        if node.op == "reshape":
            dims = _reshaped([p for dim in self.dims for p in dim], node.out.type.shape)
            return None if dims is None else replace(self, dims=dims)
        if node.op == "permute":
            return replace(self, dims=tuple(self.dims[d] for d in node.integers("dims")))
        if node.op == "expand":
            return self._expanded(node.inputs[0].type.shape, node.out.type.shape)
        return self._sliced(node) if node.op == "slice" else None

    def _expanded(self, before: tuple[Dim, ...], after: tuple[Dim, ...]) -> Layout:
        more = len(after) - len(before)
        triples = zip([()] * more + [*self.dims], [1] * more + [*before], after, strict=True)
        return replace(
            self, dims=tuple(d if a == b else (Part(REPEATED, 1, b),) for d, a, b in triples)
        )

    def _sliced(self, node: Node) -> Layout | None:
        axis = node.integer("dim") % len(self.dims)
        start, length = node.integer("start"), node.out.type.shape[axis]
        if length == node.inputs[0].type.shape[axis]:
            return self
        if node.integer("step") != 1 or not isinstance(length, int):
            return None
        outer, *inner = self.dims[axis]
        steps = product(inner)
        try:
            places = [divmod(n, steps) for n in (start, length) if isinstance(steps, int)]
        except NotInSteps:
            return None
        if [rest for _, rest in places] != [0, 0]:
            return None
        cut = Cut(outer, *(n for n, _ in places))
        dims = list(self.dims)
        dims[axis] = (*((cut.part,) if cut.extent != 1 else ()), *inner)
        return Layout(tuple(dims), (*self.cuts, cut))


def product(parts: Iterable[Part]) -> Dim:
    """How many places these parts have together."""
    return reduce(mul, (p.extent for p in parts), 1)


def digits(part: Part, extents: Sequence[Dim]) -> tuple[Part, ...]:
    """A part split into parts of these extents."""
    step, found = part.step, list[Part]()
    for extent in reversed(extents):
        found.insert(0, Part(part.axis, step, extent))
        step = step * extent
    return tuple(found)


def chain(graph: Graph, value: Value, through: frozenset[str]) -> tuple[Value, list[Node]]:
    """What `value` is made of by operations of one operand, and these in order."""
    nodes: list[Node] = []
    while (node := graph.producers.get(value.name)) is not None and node.op in through:
        nodes.insert(0, node)
        value = node.inputs[0]
    return value, nodes


def covered(shape: Sequence[Dim], parts: Iterable[Part]) -> tuple[Part, ...] | None:
    """`parts` in the order of the source, where they are all of its entries; else None."""
    own = tuple(parts)
    axes = [p.axis for p in own]
    if any(not isinstance(axis, int) for axis in axes):
        return None
    found: list[Part] = []
    for axis, extent in enumerate(shape):
        mine = sorted((p for p in own if p.axis == axis), key=lambda p: -concrete_at(p.step))
        if tuple(mine) != (digits(Part(axis, 1, extent), [p.extent for p in mine]) if mine else ()):
            return None
        if product(mine) != extent:
            return None
        found += mine
    return tuple(found) if len(found) == len(own) else None


def concrete_at(dim: Dim) -> int:
    """An extent at the sizes by which extents are compared."""
    return concrete(dim, EXAMPLE)


def _reshaped(parts: list[Part], shape: tuple[Dim, ...]) -> tuple[tuple[Part, ...], ...] | None:
    """Parts by axis of `shape`: each axis joins several parts, or is one of what a part splits
    into."""
    wanted = [n for n in shape if n != 1]
    found: list[tuple[Part, ...]] = []
    while parts or wanted:
        some: list[Part] = []
        extents: list[Dim] = []
        have: Dim = 1
        want: Dim = 1
        while not some or have != want:
            behind = concrete_at(have) <= concrete_at(want)
            if not (parts if behind else wanted):
                return None
            if behind:
                some.append(parts.pop(0))
                have = have * some[-1].extent
            else:
                extents.append(wanted.pop(0))
                want = want * extents[-1]
        if len(some) == 1:
            found += [(p,) for p in digits(some[0], extents)]
        elif len(extents) == 1:
            found.append(tuple(some))
        elif (regrouped := split(some, extents)) is not None:
            found += regrouped
        else:
            return None
    rest = iter(found)
    return tuple(() if n == 1 else next(rest) for n in shape)


def split(parts: Sequence[Part], shape: Sequence[Dim]) -> list[tuple[Part, ...]] | None:
    """Parts by axis of `shape`, split where an axis ends within one; None where they are more or
    fewer places."""
    rest, found = [p for p in parts if p.extent != 1], list[tuple[Part, ...]]()
    for extent in shape:
        own, need = list[Part](), extent
        while need != 1:
            if not rest:
                return None
            part = rest.pop(0)
            if (left := _quotient(need, part.extent)) is not None:
                need = left
            elif (inner := _quotient(part.extent, need)) is not None:
                part, behind = digits(part, (need, inner))
                rest.insert(0, behind)
                need = 1
            else:
                return None
            own.append(part)
        found.append(tuple(own))
    return None if rest else found


def _quotient(a: Dim, b: Dim) -> Dim | None:
    """a / b where that is an extent at all sizes."""
    if a == b:
        return 1
    top, below = (n if isinstance(n, Sym) else Sym(n) for n in (a, b))
    batch, seeds = top.batch - below.batch, top.seeds - below.seeds
    try:
        even = top.coeff // below.coeff
    except NotInSteps:
        return None
    if even * below.coeff != top.coeff or batch < 0 or seeds < 0:
        return None
    return Sym(even, batch, seeds) if batch or seeds else even
