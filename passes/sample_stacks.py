"""Samples of several levels as one tensor: where levels, points and weights of them are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.types import Dim
from passes.layouts import MOVES, REPEATED, Cut, Layout, Part, chain, concrete_at, product, split

LEVELS = "levels"
OPTIONS = {"mode": "bilinear", "padding": "zeros", "align_corners": False}

Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Axis:
    """An axis of a product: its number in the samples and in the weights, where they have it, and
    whether the result has it."""

    samples: int | None
    weights: int | None
    kept: bool


@dataclass(frozen=True)
class Weights:
    """What a source gives to the samples along each of their axes, and by what it is cut."""

    source: Value
    axes: tuple[tuple[str, Parts], ...]
    cuts: tuple[Cut, ...]

    def along(self, axis: str) -> Parts:
        return dict(self.axes).get(axis, ())


@dataclass(frozen=True)
class Stack:
    """Samples of levels in a tensor of this layout, of parts n, d, y, x and that of the levels.

    Samples are [N, D, y, x], N images times heads, D channels. `weights` are none as yet, those of
    all levels, or one for each. Once weighed, axes may be summed over.
    """

    layout: Layout
    samples: tuple[Node, ...]
    weights: tuple[Weights, ...] = ()
    sums: tuple[str, ...] = ()

    @property
    def levelled(self) -> bool:
        """Whether each level has its own weights."""
        return len(self.weights) == len(self.samples)


def sampled(node: Node) -> Stack | None:
    """The samples of one level, where they are those of deformable attention."""
    fits = all(node.attr(key) == wanted for key, wanted in OPTIONS.items())
    shape = node.out.type.shape
    return Stack(Layout.of(shape, "ndyx"), (node,)) if fits and len(shape) == 4 else None


def moved(stack: Stack, node: Node) -> Stack | None:
    """After one of `MOVES`, which has to leave all of it."""
    layout = stack.layout.moved(node)
    if layout is None or layout.cuts or any(p.axis == REPEATED for d in layout.dims for p in d):
        return None
    return replace(stack, layout=layout)


def joined(node: Node, stacks: Sequence[Stack]) -> Stack | None:
    """Levels along a new axis, or along that of their points."""
    axis = node.integer("dim") % len(stacks[0].layout.dims)
    all_dims = [stack.layout.dims for stack in stacks]
    others = {(*dims[:axis], (), *dims[axis + 1 :]) for dims in all_dims}
    own = [dims[axis] for dims in all_dims]
    names = {p.axis for dim in own for p in dim} - {LEVELS}
    plain = all(len(dim) < 2 for dim in own) and len(names) < 2 and names <= {"x", "y"}
    if len(others) > 1 or not plain or not _alike(stacks):
        return None
    if any(len(s.samples) > 1 and d == () for s, d in zip(stacks, own, strict=True)):
        return None
    dims = list(all_dims[0])
    dims[axis] = (Part(LEVELS, 1, node.out.type.shape[axis]),)
    return _together(stacks, Layout(tuple(dims)))


def added(stacks: Sequence[Stack]) -> Stack | None:
    """The sum of two weighed ones."""
    one, other = stacks
    if one.layout != other.layout or not (one.weights and _alike(stacks)):
        return None
    return _together(stacks, one.layout)


def _alike(stacks: Iterable[Stack]) -> bool:
    """Whether none of them is weighed, or each level of all by weights of its own."""
    return all(not s.weights for s in stacks) or all(s.levelled for s in stacks)


def _together(stacks: Sequence[Stack], layout: Layout) -> Stack:
    return Stack(
        layout,
        tuple(node for s in stacks for node in s.samples),
        tuple(one for s in stacks for one in s.weights),
        tuple(name for s in stacks for name in s.sums),
    )


def summed(stack: Stack, node: Node) -> Stack | None:
    """Weighed samples, summed over some axes."""
    if not stack.weights:
        return None
    rank = len(stack.layout.dims)
    over, keeps = {d % rank for d in node.integers("dims")}, bool(node.attr("keepdim"))
    dims = tuple(
        () if d in over else dim
        for d, dim in enumerate(stack.layout.dims)
        if keeps or d not in over
    )
    return replace(stack, layout=Layout(dims))


def axes_of(node: Node, ranks: tuple[int, int], swapped: bool) -> list[Axis]:
    """The axes of a product of samples and weights of these ranks, first those of its result;
    `swapped` says that the weights are its first operand."""
    first, second, out = _letters(node, *(ranks[::-1] if swapped else ranks))
    ours, theirs = (second, first) if swapped else (first, second)
    return [
        Axis(_place(a, ours), _place(a, theirs), a in out)
        for a in dict.fromkeys(out + ours + theirs)
    ]


def _place(letter: str, letters: str) -> int | None:
    return letters.index(letter) if letter in letters else None


def _letters(node: Node, first: int, second: int) -> tuple[str, str, str]:
    """The axes of the operands, of these ranks, and of the result of a product, by letters."""
    if node.op == "einsum":
        inputs, _, out = str(node.attr("equation")).partition("->")
        a, b = inputs.split(",")
        return a, b, out
    lead = ascii_uppercase[: node.out.type.rank]
    if node.op == "mul":
        return lead[len(lead) - first :], lead[len(lead) - second :], lead
    lead = lead[:-2]
    return lead[len(lead) + 2 - first :] + "ik", lead[len(lead) + 2 - second :] + "kj", lead + "ij"


def weighed(graph: Graph, stack: Stack, weight: Value, axes: Sequence[Axis]) -> Stack | None:
    """The product by `weight`, which has one number for each head, query and point of the samples,
    the same for all channels."""
    source, nodes = chain(graph, weight, MOVES)
    own = followed(source, nodes)
    if own is None or stack.weights:
        return None
    found: dict[str, list[tuple[Part, Parts]]] = {}
    dims: list[Parts] = []
    for axis in axes:
        parts = () if axis.samples is None else stack.layout.dims[axis.samples]
        dim = () if axis.weights is None else own.dims[axis.weights]
        each = _each(parts, dim)
        if each is None:
            return None
        for part, given in each:
            found.setdefault(str(part.axis), []).append((part, given))
        if axis.kept:
            dims.append(parts)
    gathered = tuple((axis, _in_order(pairs)) for axis, pairs in found.items() if axis != "d")
    return replace(
        stack, layout=Layout(tuple(dims)), weights=(Weights(source, gathered, own.cuts),)
    )


def _each(parts: Parts, dim: Parts) -> list[tuple[Part, Parts]] | None:
    """What each part of an axis of samples is weighed by, of the parts of an axis of weights."""
    if all(p.axis == "d" for p in parts):
        return [] if all(p.axis == REPEATED for p in dim) and (parts or not dim) else None
    given = split(dim, [p.extent for p in parts])
    if given is None:
        return None
    each = list(zip(parts, given, strict=True))
    repeats = all(q.axis == REPEATED for p, own in each if p.axis == "d" for q in own)
    return each if repeats else None


def _in_order(pairs: list[tuple[Part, Parts]]) -> Parts:
    pairs = sorted(pairs, key=lambda pair: -concrete_at(pair[0].step))
    return tuple(part for _, given in pairs for part in given)


def followed(source: Value, nodes: list[Node]) -> Layout | None:
    """The layout after `nodes`, of the parts of `source`."""
    layout: Layout | None = Layout.of(source.type.shape)
    for node in nodes:
        layout = layout if layout is None or node.op not in MOVES else layout.moved(node)
    return layout


def extents(dims: Iterable[Parts]) -> dict[str, Dim]:
    """How many places of each axis are left."""
    found: dict[str, list[Part]] = {}
    for dim in dims:
        for part in dim:
            found.setdefault(str(part.axis), []).append(part)
    return {axis: product(parts) for axis, parts in found.items()}
