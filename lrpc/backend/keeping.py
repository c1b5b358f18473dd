"""Where the state keeps what several sampling operations share: indices, coefficients, transpose.

Operations on the same locations and weights as a `deform_sample` of the forward pass share them
under that node's name.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.backend.quoting import quoted
from lrpc.ir.graph import Attr, Node
from lrpc.ir.ops import TABLE

Place = tuple[str, str]  # segment key and local name
Key = tuple[Attr | None, ...]


@dataclass(frozen=True)
class Keeping:
    """Which part of the state, and which name there, each sampling operation has."""

    places: Mapping[Key, Place] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()

    def arguments(self, node: Node, parts: Mapping[str, str]) -> str:
        """`, PART, NAME` for `node`, nothing where it keeps nothing. `parts` says how the function
        at hand writes the parts of the state that it can reach."""
        place = self.place(node, parts)
        return "" if place is None else f", {parts[place[0]]}, {quoted(place[1])}"

    def place(self, node: Node, reach: Container[str]) -> Place | None:
        """Where `node` keeps a part of its work, of the parts of the state within `reach`."""
        locations = _operand(node, "locations")
        if locations is None or locations not in self.needed:
            return None
        place = self.places.get(_key(node))
        return None if place is None or place[0] not in reach else place


def keeping(nodes: Sequence[Node], places: Mapping[str, Place], needed: frozenset[str]) -> Keeping:
    """What the samplings among the forward pass's `nodes` keep, where relevance needs their
    locations: `needed` names the values that it reads, `places` where the state has each value."""
    found: dict[Key, Place] = {}
    for node in nodes:
        if node.op == "deform_sample":
            place = places[node.out.name]
            found.setdefault(_key(node), place)
            found.setdefault((*_key(node)[:-1], None), place)
    return Keeping(found, needed)


def _key(node: Node) -> Key:
    """Levels, locations and weights; the transpose in the weights has none."""
    return node.attr("levels"), _operand(node, "locations"), _operand(node, "weights")


def _operand(node: Node, name: str) -> str | None:
    """The value that is this operand of `node`, by name; None where it has no such operand."""
    place = TABLE[node.op].operand(name)
    return None if place is None else node.inputs[place].name
