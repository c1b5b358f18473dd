"""What relevance computes again instead of finding it in the state.

A segment of the forward pass that is computed again leaves in the state only what other segments
read of it. Relevance runs it once more, into a dict of its own, just before the first statement
that reads one of its other values, and drops that dict after the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.codegen.segments import Segment
from lrpc.ir.graph import Node

At = tuple[int, int]  # a segment, and a node in it; (i, 0) is a block as a whole
Place = tuple[str, str]  # segment key and local name


@dataclass(frozen=True)
class Recompute:
    """The segments to compute again by key, and the values of theirs that the state keeps."""

    segments: Mapping[str, Segment] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()

    def drops(self, name: str, place: Place) -> bool:
        """Whether the value `name`, saved at `place`, is computed again."""
        return place[0] in self.segments and name not in self.kept


@dataclass(frozen=True)
class Windows:
    """Which segments are computed again right before a statement, and dropped right after one."""

    before: Mapping[At, tuple[str, ...]]
    after: Mapping[At, tuple[str, ...]]


def recompute(
    forward: Sequence[Segment], keys: Collection[str], outside: Iterable[str]
) -> Recompute:
    """The segments of the forward pass named by `keys`; values in `outside` are wanted by others
    than its segments: outputs, and where relevance starts."""
    chosen = {s.key: s for s in forward if s.key and s.key in keys}
    readers: dict[str, set[str]] = {name: {""} for name in outside}
    for number, segment in enumerate(forward):
        for value in segment.reads():
            readers.setdefault(value.name, set()).add(segment.key or f"#{number}")
    kept = {
        v.name
        for key, segment in chosen.items()
        for v in segment.made()
        if readers.get(v.name, set()) - {key}
    }
    return Recompute(chosen, frozenset(kept))


def windows(
    segments: Sequence[Segment],
    wanted: Callable[[Segment, Node], Collection[str]],
    order: Sequence[str],
) -> Windows:
    """When a relevance pass opens and closes which segments of the forward pass, given those
    that each of its nodes wants; `order` is theirs."""
    first: dict[str, At] = {}
    last: dict[str, At] = {}
    for i, segment in enumerate(segments):
        for j, node in enumerate(segment.nodes):
            at = (i, 0 if segment.key else j)
            for key in wanted(segment, node):
                first.setdefault(key, at)
                last[key] = at
    return Windows(_by_place(first, order), _by_place(last, order))


def _by_place(found: Mapping[str, At], order: Sequence[str]) -> dict[At, tuple[str, ...]]:
    places: dict[At, list[str]] = {}
    for key in sorted(found, key=order.index):
        places.setdefault(found[key], []).append(key)
    return {at: tuple(keys) for at, keys in places.items()}
