"""What the state holds between the two halves of a program, and how their functions reach it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lrpc.backend.body import Names
from lrpc.backend.keeping import Keeping, Place
from lrpc.backend.quoting import quoted
from lrpc.backend.recompute import TABLES, Recompute
from lrpc.backend.segments import Segment
from lrpc.ir.graph import Node, Value


@dataclass(frozen=True)
class Saved:
    """Where the forward pass keeps each value that relevance needs: segment key and local name;
    and what of it relevance computes again instead."""

    places: Mapping[str, tuple[str, str]]
    needed: frozenset[str]
    scopes: tuple[str, ...]
    keeping: Keeping
    again: Recompute = field(default_factory=Recompute)

    @cached_property
    def kept(self) -> dict[str, tuple[str, str]]:
        """What the state holds after a forward pass."""
        return {
            name: place
            for name, place in self.places.items()
            if name in self.needed and not self.again.drops(name, place)
        }

    @cached_property
    def _needed_of(self) -> dict[str, dict[str, str]]:
        """By segment: value name → the statement target that saves it."""
        found: dict[str, dict[str, str]] = {}
        for name, (where, local) in self.places.items():
            if name in self.needed:
                found.setdefault(where, {})[name] = f"s[{quoted(local)}]"
        return found

    def inside(self, key: str, anew: bool = False) -> dict[str, str]:
        """Value name → the statement target that saves it, for values of segment `key`: in the
        forward pass, or where it is computed again (`anew`)."""
        found = self._needed_of.get(key, {})
        if key not in self.again.segments or key in self.again.whole:
            return found
        return {n: text for n, text in found.items() if (n in self.again.kept) != anew}

    def ways(self) -> dict[str, tuple[list[str], list[str]]]:
        """Of each segment that is computed again: the local names of what the state keeps of it,
        and of what relevance makes."""
        found = {}
        for key in self.again.segments:
            parts: tuple[list[str], list[str]] = ([], [])
            for name in self._needed_of.get(key, {}):
                parts[name not in self.again.kept].append(self.places[name][1])
            for where, local in dict.fromkeys(self.keeping.places.values()):
                if where == key:
                    parts[(key, local) not in self.again.tables].append(f"{local}{TABLES}")
            found[key] = parts
        return found

    def tables(self, node: Node, reach: Container[str], forward: bool = False) -> Place | None:
        """Where `node` keeps a part of its work, of the parts of the state within `reach`."""
        place = self.keeping.place(node, reach)
        if place is None or (forward and not self.again.keeps_tables(place)):
            return None
        return place

    def scope(self, segment: Segment) -> str:
        """Which part of the saved values a function for `segment` is handed."""
        return next((k for k in (segment.key, segment.block) if k in self.scopes), "")

    def fetch(self, name: str, key: str) -> str:
        """The expression that reads a saved value from a function working on segment `key`."""
        where, local = self.places[name]
        if where == key and key:
            return f"s[{quoted(local)}]"
        dropped = self.again.drops(name, (where, local))
        part = self.part(where) if dropped else f"saved[{quoted(where)}]"
        return f"{part}[{quoted(local)}]"

    def part(self, scope: str) -> str:
        """How the main function of a relevance pass writes a part of the state."""
        if scope not in self.again.segments:
            return f"saved[{quoted(scope)}]"
        return self._parts[scope]

    @cached_property
    def _parts(self) -> dict[str, str]:
        """The local name of each part that relevance computes again; no two share one."""
        names = Names()
        return {scope: names.fresh(scope) for scope in self.again.segments}

    def wanted(self, segment: Segment, node: Node) -> set[str]:
        """The segments to compute again for a node of a relevance pass: those of values that the
        state lacks, and whose dict the node's function reads or adds to."""
        again, scope = self.again, self.scope(segment) if segment.key else None
        reach = self.scopes if scope is None else (scope,)
        found = {place[0] for place in [self.keeping.place(node, reach)] if place is not None}
        for name, place in ((v.name, self.places.get(v.name)) for v in node.inputs):
            if place is not None and (place[0] == scope or again.drops(name, place)):
                found.add(place[0])
        return found & again.segments.keys()


def local_places(
    segments: Sequence[Segment], inputs: Sequence[Value]
) -> dict[str, tuple[str, str]]:
    """Where the forward pass would save each of its values."""
    places = {v.name: ("", v.name) for v in inputs}
    for segment in segments:
        if not segment.key:
            places.update({v.name: ("", v.name) for v in segment.made()})
            continue
        names = Names()
        for value in segment.reads():
            names.argument(value, "x")
        places.update({v.name: (segment.key, names.local(v)) for v in segment.made()})
    return places
