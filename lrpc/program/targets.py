"""Where relevance can start and where it can be read: names for places in a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from lrpc.config.target_kinds import KINDS, SUBLAYERS
from lrpc.errors import ConfigError
from lrpc.ir.graph import Graph
from lrpc.ir.types import Sym
from lrpc.support.untrusted import meant

BACKBONE = ("backbone.res2", "backbone.res3", "backbone.res4", "backbone.res5")
_LAYER = re.compile(r"(?:encoder|decoder)\.layers\.\d+")


@dataclass(frozen=True)
class Target:
    """A target of the finished program: the place where it starts and what `at` indexes.

    `axes` count among the value's axes without its batch axis; `token` likewise is the axis that an
    encoder feature is spread over.
    """

    name: str
    place: str
    axes: tuple[int, ...]
    index_names: tuple[str, ...]
    token: int | None = None


@dataclass(frozen=True)
class Places:
    """Places by name: `paths` has the module path of each; relevance stops at `boundaries`.

    `inputs` maps those that stand for an input of the model to its name.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    boundaries: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)


def maskdino_places(
    encoder_layers: int,
    decoder_layers: int,
    levels: Sequence[str],
    asked: Sequence[str] = (),
    backbone: Sequence[str] = BACKBONE,
) -> Places:
    """The places of a MaskDINO with the released module names; `levels` names each input
    projection, `backbone` has the paths of its maps.

    Places inside a layer (`encoder.layers.0.self_attn`, `decoder.layers.1.ffn.pre_res`) and
    `decoder.input` are there where a pattern in `asked` matches them and ends in their own name.
    """
    head = "sem_seg_head"
    encoder = f"{head}.pixel_decoder.transformer.encoder.layers"
    decoder = f"{head}.predictor.decoder.layers"
    paths = {"input": "normalize"}
    paths |= {f"backbone.{path[-4:]}": path for path in backbone}
    paths |= {
        f"encoder.input.{name}": f"{head}.pixel_decoder.input_proj.{i}"
        for i, name in enumerate(levels)
    }
    if encoder_layers:
        paths["encoder.input"] = f"{encoder}.0:in0"
    paths |= {f"encoder.layers.{i}": f"{encoder}.{i}" for i in range(encoder_layers)}
    paths |= {f"decoder.layers.{i}": f"{decoder}.{i}" for i in range(decoder_layers)}
    inside = {
        **_sublayers("encoder", encoder, encoder_layers),
        **_sublayers("decoder", decoder, decoder_layers),
        "decoder.input": f"{decoder}.0:in0",
    }
    paths |= {name: path for name, path in inside.items() if _asked(name, asked)}
    return Places(paths, ("input",), {"input": "images"})


def _sublayers(stack: str, path: str, layers: int) -> dict[str, str]:
    found = {}
    for i in range(layers):
        for name, (transform, norm) in SUBLAYERS[stack].items():
            found[f"{stack}.layers.{i}.{name}.pre_res"] = f"{path}.{i}.{transform}"
            if norm:
                found[f"{stack}.layers.{i}.{name}"] = f"{path}.{i}.{norm}"
    return found


def _asked(name: str, patterns: Sequence[str]) -> bool:
    own = _LAYER.sub("", name)
    return any(fnmatchcase(name, p) and p.endswith(own) for p in patterns)


def asked_places(targets: Sequence[str], *patterns: str) -> tuple[str, ...]:
    """Where `targets` inside a layer (`encoder_feature:1.self_attn`) start, and `patterns`."""
    starts = (name.partition(":") for name in targets)
    return (*(f"{KINDS[kind].layers}{part}" for kind, _, part in starts if "." in part), *patterns)


def inside(paths: Mapping[str, str], scope: str) -> dict[str, str]:
    """The places that lie inside `scope`, with paths relative to it."""
    return {
        name: path[len(scope) + 1 :] for name, path in paths.items() if path.startswith(f"{scope}.")
    }


def with_boundaries(places: Places, patterns: Sequence[str]) -> Places:
    """`places` at which relevance also stops where a pattern matches; ConfigError where none
    does."""
    found = matching("LRPC.BOUNDARIES", patterns, list(places.paths))
    more = (name for name in found if name not in places.boundaries)
    return replace(places, boundaries=(*places.boundaries, *more))


def matching(key: str, patterns: Sequence[str], every: Sequence[str]) -> list[str]:
    """The places that some pattern matches, in their order; ConfigError that names `key` where a
    pattern matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in every):
            raise ConfigError(
                f"{key}: no place matches {pattern!r}{meant(pattern, every)}; places:"
                f" {', '.join(every) or 'none'}"
            )
    return [name for name in every if any(fnmatchcase(name, p) for p in patterns)]


def boundaries_of(start: str, boundaries: Sequence[str], graph: Graph) -> tuple[str, ...]:
    """Where relevance that starts at `start` stops: at all `boundaries` but that place itself."""
    return tuple(stop for stop in boundaries if graph.value_at[stop] != graph.value_at[start])


def maskdino_targets(names: Sequence[str], graph: Graph) -> list[Target]:
    """The targets that LRPC.TARGETS lists, as far as `graph` holds them; ConfigError for others."""
    found: dict[str, Target] = {}
    for name in names:
        for target in _expand(name, graph):
            found.setdefault(target.name, target)
    return list(found.values())


def possible(name: str, graph: Graph) -> bool:
    """Whether a graph holds what this target starts from."""
    kind = KINDS[name.partition(":")[0]]
    kind = KINDS[kind.weighs or kind.name]
    if kind.layered:
        return any(place.startswith(kind.layers) for place in graph.value_at)
    start = graph.value_at.get(f"output.{kind.output}")
    return start is not None and start.type.rank == 1 + len(kind.places)


def _expand(name: str, graph: Graph) -> list[Target]:
    own, _, layer = name.partition(":")
    own = KINDS[own].weighs or own
    kind = KINDS[own]
    prefix, places, names = kind.layers, kind.places, kind.names
    if not kind.layered:
        if f"output.{kind.output}" not in graph.value_at:
            able = [name for name, one in KINDS.items() if not one.weighs and possible(name, graph)]
            raise ConfigError(
                f"LRPC.TARGETS: {own} starts from {kind.output}, which is none of the outputs; this"
                f" model has: {', '.join(able) or 'none by name'}"
            )
        return [Target(own, f"output.{kind.output}", places, names, kind.token)]
    starts = [m for m in graph.value_at if m.startswith(prefix)]
    layers = sorted(int(m[len(prefix) :]) for m in starts if "." not in m[len(prefix) :])
    if not layers:
        raise ConfigError(f"LRPC.TARGETS: {own} needs {prefix}*, which the model does not have")
    chosen = [str(i) for i in layers] if layer == "*" else [layer or str(layers[-1])]
    if f"{prefix}{chosen[0]}" not in starts:
        known = int(chosen[0].partition(".")[0]) in layers
        hint = meant(f"{prefix}{chosen[0]}", starts) if known else ""
        raise ConfigError(
            f"LRPC.TARGETS: {name}: there are layers {layers[0]} to {layers[-1]}"
            f"{f', none has that part{hint}' if known else ''}"
        )
    return [Target(f"{own}:{i}", f"{prefix}{i}", places, names, kind.token) for i in chosen]


def sayable(name: str) -> bool:
    """Whether a target may be called so: it is typed, listed and shown wherever relevance starts,
    so it has neither quotes, backslashes nor characters that cannot be seen."""
    return name.isprintable() and not set(name) & set("\"'`\\")


def output_targets(graph: Graph) -> list[Target]:
    """One target for each float output of any model, indexed by all its axes but the batch;
    ConfigError for one that cannot be called by its name."""
    found = []
    for name, value in graph.outputs:
        if not sayable(name):
            raise ConfigError(
                f"the model returns {name!r:.80}: a target has no quotes, backslashes or control"
                " characters in its name; rename that key of its outputs"
            )
        if value.type.is_float and any(isinstance(d, Sym) for d in value.type.shape):
            rank = value.type.rank - 1
            names = tuple(f"index{i}" for i in range(rank))
            found.append(Target(name, f"output.{name}", tuple(range(rank)), names))
    return found
