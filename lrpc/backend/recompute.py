"""What relevance computes again instead of finding it in the state.

A segment of the forward pass that is computed again leaves in the state what other segments read
of it, and those of its other values that are named. Relevance makes the rest once more, in a dict
of its own, just before the first statement that reads one of its values, and drops that dict after
the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lrpc.backend.segments import Segment
from lrpc.ir.graph import Node

At = tuple[int, int]  # a segment, and a node in it; (i, 0) is a block as a whole
Place = tuple[str, str]  # segment key and local name

#: Segment key → the local names of what it keeps; with none, that is what other segments read, and
#: relevance calls the function of the forward pass. `NAME.tables` is what the sampling NAME shares.
Again = Mapping[str, Sequence[str]]
TABLES = ".tables"


@dataclass(frozen=True)
class Recompute:
    """The segments to compute again by key, each with the statements that relevance runs.

    `kept` are the values of theirs that the state keeps, `named` those that it was told to,
    `tables` the samplings whose tables it keeps as well; relevance runs `whole` ones as they are.
    """

    segments: Mapping[str, Segment] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    named: frozenset[str] = frozenset()
    tables: frozenset[Place] = frozenset()
    whole: frozenset[str] = frozenset()

    def drops(self, name: str, place: Place) -> bool:
        """Whether the value `name`, saved at `place`, is computed again."""
        return place[0] in self.segments and name not in self.kept

    def keeps_tables(self, place: Place) -> bool:
        """Whether the forward pass leaves in the state what the sampling at `place` shares."""
        return place[0] not in self.segments or place[0] in self.whole or place in self.tables

    def reads(self) -> set[str]:
        """The values that have to be there for them."""
        return {v.name for s in self.segments.values() for v in s.reads()}


@dataclass(frozen=True)
class Windows:
    """Which segments are computed again right before a statement, and dropped right after one."""

    before: Mapping[At, tuple[str, ...]]
    after: Mapping[At, tuple[str, ...]]


def recompute(
    forward: Sequence[Segment],
    again: Again,
    outside: Iterable[str],
    needed: Iterable[str],
    places: Mapping[str, Place],
) -> Recompute:
    """What computing `again` means for the segments of a forward pass, of which relevance reads
    `needed`; values in `outside` are wanted by others than segments: outputs, and where relevance
    starts."""
    readers: dict[str, set[str]] = {name: {""} for name in outside}
    for number, segment in enumerate(forward):
        for value in segment.reads():
            readers.setdefault(value.name, set()).add(segment.key or f"#{number}")
    needed, chosen = set(needed), dict[str, Segment]()
    crossing, named = set[str](), set[str]()
    for segment in reversed(forward):  # the values that a segment reads again are made before it
        if not segment.key or segment.key not in again:
            continue
        made = {v.name for v in segment.made()}
        crossing |= {name for name in made if readers.get(name, set()) - {segment.key}}
        named |= {name for name in made if places[name][1] in again[segment.key]}
        needed |= made & named
        if again[segment.key]:
            there = made & (named | crossing & needed)
            segment = _statements(segment, made & needed - there, there)
        chosen[segment.key] = segment
        needed |= {v.name for v in segment.reads()}
    order = [s.key for s in forward if s.key in chosen]
    return Recompute(
        {key: chosen[key] for key in order},
        frozenset(crossing | named),
        frozenset(named),
        frozenset(
            (key, name.removesuffix(TABLES))
            for key in order
            for name in again[key]
            if name.endswith(TABLES)
        ),
        frozenset(key for key in order if not again[key]),
    )


def _statements(segment: Segment, wanted: set[str], there: Collection[str]) -> Segment:
    """Those of a segment that make the values `wanted`, where others of its values are there."""
    wanted, nodes = set(wanted), list[Node]()
    for node in reversed(segment.nodes):
        if any(v.name in wanted for v in node.outputs):
            nodes.append(node)
            wanted |= {v.name for v in node.inputs if v.name not in there}
    return replace(segment, nodes=tuple(reversed(nodes)))


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
