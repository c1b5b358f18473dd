"""Places of a graph that relevance starts from and is read at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lrpc.errors import ConfigError
from lrpc.ir.graph import Graph
from lrpc.program.targets import Places, Target, matching, output_targets
from lrpc.rules.conditions import POSITIONS
from passes.reachable import relevance_reachable


def startable(graph: Graph) -> list[Target]:
    """The outputs that relevance can start from and leave; ConfigError where there is none."""
    able = relevance_reachable(graph)
    if not any(value.name in able for value in graph.inputs):
        inputs = ", ".join(f"{value.name} {value.type}" for value in graph.inputs)
        raise ConfigError(
            f"relevance can end at no input ({inputs}): it wants one that is floating, or tokens"
            " that an embedding looks up; compile the part behind with scope=..."
        )
    found = [t for t in output_targets(graph) if graph.value_at[t.place].name in able]
    if not found:
        outputs = ", ".join(f"{name} {value.type}" for name, value in graph.outputs)
        raise ConfigError(
            f"relevance can start from no output ({outputs}): it wants one that is floating, has a"
            " batch axis and hangs on an input that relevance can end at"
        )
    return found


def with_inputs(places: Places, graph: Graph) -> Places:
    """Where nothing else stands for an input, the input itself does."""
    able = relevance_reachable(graph)
    own = {f"input.{v.name}": v.name for v in graph.inputs if v.name in able}
    covered = set(places.inputs.values())
    inputs = {place: name for place, name in places.inputs.items() if place in graph.value_at}
    inputs |= {place: name for place, name in own.items() if name not in covered}
    boundaries = tuple(place for place in places.boundaries if place in graph.value_at)
    return Places(places.paths, boundaries, inputs)


def chosen_places(graph: Graph, places: Places, read: Sequence[str]) -> tuple[str, ...]:
    """Where to read: all places, or those that `read` (LRPC.READ) names (globs allowed)."""
    inputs = places.inputs
    every = [m for m in graph.value_at if not m.startswith(("output.", "input.")) or m in inputs]
    if not read:
        return tuple(every)
    found = matching("LRPC.READ", read, every)
    return tuple(name for name in every if name in inputs or name in found)


def chosen_conditions(graph: Graph, patterns: Sequence[str]) -> tuple[str, ...]:
    """The conditions that LRPC.CONDITIONS names, each a place or `PLACE:positions` (globs
    allowed); ConfigError where a pattern matches no place that a module makes."""
    found: dict[str, None] = {}
    for pattern in patterns:
        own = pattern if pattern in graph.value_at else pattern.removesuffix(POSITIONS)
        end = pattern[len(own) :]
        names = matching_places("LRPC.CONDITIONS", graph, [own])
        found |= dict.fromkeys(f"{name}{end}" for name in names)
    return tuple(found)


def matching_places(key: str, graph: Graph, patterns: Sequence[str]) -> list[str]:
    """The places inside the model that patterns match; ConfigError that names `key` where one
    matches none."""
    given = {value.name for value in graph.inputs}
    inner = (name for name, value in graph.value_at.items() if value.name not in given)
    return matching(key, patterns, [name for name in inner if not name.startswith("output.")])


def check_conditions(names: Sequence[str], graph: Graph, masked: Sequence[Collection[str]]) -> None:
    """ConfigError for a condition that relevance of no target meets; `masked` has those that each
    does."""
    for name in names:
        if not any(name in own for own in masked):
            value = graph.value_at[name if name in graph.value_at else name[: -len(POSITIONS)]]
            raise ConfigError(
                f"a condition is set at {name!r} ({value.type}), which relevance of no target"
                " passes on its way to an input; set it between the targets and the boundaries"
            )
