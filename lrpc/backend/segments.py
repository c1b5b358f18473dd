"""Cuts a node list into segments: runs that belong to one repeated block, and the glue between
them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from lrpc.ir.blocks import block_of
from lrpc.ir.graph import Node, Value

SMALLEST = 6  # a run of fewer nodes reads better in place than as a function
STRETCH = (3, 12)  # the fewest and the most nodes of a stretch of glue that may be computed again


@dataclass(frozen=True)
class Segment:
    """Consecutive nodes; `key` names the run (its block, unique in the program), "" for glue."""

    key: str
    block: str
    nodes: tuple[Node, ...]

    @property
    def prefix(self) -> str:
        """What weight names of this block start with."""
        return f"{self.block}." if self.block else ""

    def reads(self) -> list[Value]:
        """Values used here but made elsewhere, by first use."""
        made = {v.name for n in self.nodes for v in n.outputs}
        found = {v.name: v for n in self.nodes for v in n.inputs if v.name not in made}
        return list(found.values())

    def made(self) -> list[Value]:
        return [v for n in self.nodes for v in n.outputs]


class Every:
    """Contains all keys."""

    def __contains__(self, key: object) -> bool:
        return True


def cut(
    nodes: Sequence[Node], repeats: bool = False, stretches: Container[str] = ()
) -> list[Segment]:
    """Segments in program order; glue between two blocks is one segment.

    With `repeats`, glue that computes the same thing several times (what a model does between two
    decoder layers) gets keys of its own, and so becomes a function as well. So do those `stretches`
    of the other glue: `stretch.1`, `stretch.2`, …, where few values go from one to the next.
    """
    runs: list[tuple[str, list[Node]]] = []
    for node in nodes:
        block = block_of(node.loc.module)
        if not runs or runs[-1][0] != block:
            runs.append((block, []))
        runs[-1][1].append(node)
    merged: list[tuple[str, list[Node]]] = []
    for block, run in runs:
        block = block if len(run) >= SMALLEST else ""
        if merged and not block and not merged[-1][0]:
            merged[-1][1].extend(run)
        else:
            merged.append((block, list(run)))
    segments = list(_keyed(merged))
    if not repeats:
        return segments
    return list(_name_stretches(_name_repeats(segments), stretches))


def _name_repeats(segments: Sequence[Segment]) -> list[Segment]:
    shapes = [_shape(s.nodes) if not s.key and len(s.nodes) >= SMALLEST else None for s in segments]
    counts = Counter(shape for shape in shapes if shape is not None)
    found, names = list[Segment](), _free("between", segments)
    for segment, shape in zip(segments, shapes, strict=True):
        if shape is not None and counts[shape] > 1:
            segment = replace(segment, key=next(names))
        found.append(segment)
    return found


def _name_stretches(segments: Sequence[Segment], chosen: Container[str]) -> Iterable[Segment]:
    names = _free("stretch", segments)
    for segment in segments:
        if segment.key:
            yield segment
            continue
        glue: list[Node] = []
        for nodes in _stretches(segment.nodes):
            key = next(names)
            if len(nodes) < STRETCH[0] or key not in chosen:
                glue += nodes
                continue
            if glue:
                yield replace(segment, nodes=tuple(glue))
            yield replace(segment, key=key, nodes=tuple(nodes))
            glue = []
        if glue:
            yield replace(segment, nodes=tuple(glue))


def _free(word: str, segments: Sequence[Segment]) -> Iterator[str]:
    """`word.1`, `word.2`, … but for those that a block of the model has for its path."""
    taken = {segment.key for segment in segments}
    return (key for n in count(1) if (key := f"{word}.{n}") not in taken)


def _stretches(nodes: Sequence[Node]) -> Iterable[Sequence[Node]]:
    """Glue cut where the fewest of its values are read further on, of equals the earliest."""
    last = {v.name: i for i, n in enumerate(nodes) for v in n.inputs}
    made = {v.name: i for i, n in enumerate(nodes) for v in n.outputs}
    crossing = [0] * len(nodes)
    for name, i in made.items():
        for at in range(i, last.get(name, i)):
            crossing[at] += 1
    fewest, most = STRETCH
    start = 0
    while len(nodes) - start > most:
        ends = range(start + fewest - 1, start + most)
        end = min(ends, key=lambda at: crossing[at]) + 1
        yield nodes[start:end]
        start = end
    yield nodes[start:]


def _shape(nodes: Sequence[Node]) -> tuple[object, ...]:
    """What the nodes compute, whatever their values are called."""
    names: dict[str, int] = {}

    def numbers(values: Sequence[Value]) -> tuple[int, ...]:
        return tuple(names.setdefault(v.name, len(names)) for v in values)

    return tuple(
        (n.op, numbers(n.inputs), numbers(n.outputs), n.attrs, n.role, n.rule, n.loc.module)
        for n in nodes
    )


def _keyed(runs: Iterable[tuple[str, list[Node]]]) -> Iterable[Segment]:
    seen: dict[str, int] = {}
    for block, run in runs:
        count = seen[block] = seen.get(block, 0) + 1
        key = block if not block or count == 1 else f"{block}#{count}"
        yield Segment(key, block, tuple(run))
