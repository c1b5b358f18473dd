"""Targets inside a model: channels, positions and units of places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lrpc.errors import ConfigError
from lrpc.ir.graph import Graph, Value
from lrpc.ir.types import Sym
from lrpc.program.places import matching_places
from lrpc.program.targets import Target, sayable
from lrpc.rules.conditions import channel_axis
from passes.reachable import relevance_reachable

_POSITIONS = {1: ("token",), 2: ("y", "x")}


def inner_targets(graph: Graph, patterns: Sequence[str]) -> list[Target]:
    """What relevance can start from at the places that LRPC.STARTS names (globs allowed).

    `channel:PLACE` starts from a channel at all positions, `position:PLACE` from all channels of a
    position, such as a query, and `unit:PLACE` from one number. ConfigError where there is no such
    place, or no relevance from there to an input.
    """
    able = relevance_reachable(graph)
    found: dict[str, Target] = {}
    for place in matching_places("LRPC.STARTS", graph, patterns):
        value = graph.value_at[place]
        symbols = [d for d in value.type.shape if isinstance(d, Sym)]
        fits = value.type.is_float and symbols == [Sym(1, batch=1)] and value.type.rank > 1
        if not fits or value.name not in able:
            raise ConfigError(
                f"LRPC.STARTS: relevance cannot start at {place!r} ({value.type}): it wants a place"
                " of floating numbers with axes of images and channels, which hangs on an input"
            )
        if not sayable(place):
            raise ConfigError(f"LRPC.STARTS: {place!r:.80} has quotes or control characters in it")
        found |= {target.name: target for target in _at(place, value, channel_axis(graph, value))}
    return list(found.values())


def _at(place: str, value: Value, channels: int) -> Iterator[Target]:
    """The targets of one place; axes count without that of the images."""
    rest = [i for i, d in enumerate(value.type.shape) if not isinstance(d, Sym)]
    axis = rest.index(channels)
    others = tuple(i for i in range(len(rest)) if i != axis)
    names = _POSITIONS.get(len(others), tuple(f"position{i}" for i in range(len(others))))
    yield Target(f"channel:{place}", place, (axis,), ("channel",))
    if others:
        yield Target(f"position:{place}", place, others, names)
        yield Target(f"unit:{place}", place, (axis, *others), ("channel", *names))
