"""Where relevance can start and where it can be read: names for places in a model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.errors import ConfigError
from lrpc.ir.graph import Graph
from lrpc.ir.types import Sym

LAYERED = {"encoder_feature": "encoder.layers.", "decoder_query": "decoder.layers."}
OUTPUTS = {
    "class_logit": ("pred_logits", ("query", "class")),
    "mask_logit": ("pred_masks", ("query", "y", "x")),
    "box": ("pred_boxes", ("query", "coordinate")),
}


@dataclass(frozen=True)
class Target:
    """A target of the finished program: its mark and what `at` indexes.

    `axes` count among the value's axes without its batch axis; `token` likewise is the axis that an
    encoder feature is spread over.
    """

    name: str
    mark: str
    axes: tuple[int, ...]
    index_names: tuple[str, ...]
    token: int | None = None


@dataclass(frozen=True)
class Places:
    """Places by name: `marks` maps them to module paths; relevance stops at `stops`.

    `inputs` maps those marks that stand for the model's input to the input's name.
    """

    marks: Mapping[str, str] = field(default_factory=dict)
    stops: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)


def maskdino_places(encoder_layers: int, decoder_layers: int, levels: Sequence[str]) -> Places:
    """The places of a MaskDINO with the released module names; `levels` names each input
    projection."""
    head = "sem_seg_head"
    encoder = f"{head}.pixel_decoder.transformer.encoder.layers"
    marks = {"input": "normalize"}
    marks |= {f"backbone.{name}": f"backbone.{name}" for name in ("res2", "res3", "res4", "res5")}
    marks |= {
        f"encoder.input.{name}": f"{head}.pixel_decoder.input_proj.{i}"
        for i, name in enumerate(levels)
    }
    if encoder_layers:
        marks["encoder.input"] = f"{encoder}.0:in0"
    marks |= {f"encoder.layers.{i}": f"{encoder}.{i}" for i in range(encoder_layers)}
    marks |= {
        f"decoder.layers.{i}": f"{head}.predictor.decoder.layers.{i}" for i in range(decoder_layers)
    }
    return Places(marks, ("input",), {"input": "images"})


def maskdino_targets(names: Sequence[str], graph: Graph) -> list[Target]:
    """The targets that LRPC.TARGETS lists, as far as `graph` holds them; ConfigError for others."""
    found: dict[str, Target] = {}
    for name in names:
        for target in _expand(name, graph):
            found.setdefault(target.name, target)
    return list(found.values())


def _expand(name: str, graph: Graph) -> list[Target]:
    kind, _, layer = name.partition(":")
    if kind in OUTPUTS:
        output, index = OUTPUTS[kind]
        if f"output.{output}" not in graph.marked:
            raise ConfigError(
                f"LRPC.TARGETS: {kind} starts from {output}, which LRPC.SCOPE leaves out"
            )
        return [Target(kind, f"output.{output}", tuple(range(len(index))), index)]
    prefix = LAYERED[kind]
    layers = sorted(int(m[len(prefix) :]) for m in graph.marked if m.startswith(prefix))
    if not layers:
        raise ConfigError(f"LRPC.TARGETS: {kind} needs {prefix}*, which LRPC.SCOPE leaves out")
    chosen = layers if layer == "*" else [int(layer) if layer else layers[-1]]
    if chosen[0] not in layers:
        raise ConfigError(f"LRPC.TARGETS: {name}: there are layers {layers[0]} to {layers[-1]}")
    if kind == "encoder_feature":
        return [Target(f"{kind}:{i}", f"{prefix}{i}", (1,), ("channel",), token=0) for i in chosen]
    return [Target(f"{kind}:{i}", f"{prefix}{i}", (0,), ("query",)) for i in chosen]


def output_targets(graph: Graph) -> list[Target]:
    """One target for each float output of any model, indexed by all its axes but the batch."""
    found = []
    for name, value in graph.outputs:
        if value.type.is_float and any(isinstance(d, Sym) for d in value.type.shape):
            rank = value.type.rank - 1
            names = tuple(f"index{i}" for i in range(rank))
            found.append(Target(name, f"output.{name}", tuple(range(rank)), names))
    return found


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean X?`, or nothing."""
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
