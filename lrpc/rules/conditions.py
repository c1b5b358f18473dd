"""Conditions: masks on relevance at places, which let chosen channels or positions pass.

Achtibat et al. 2023 (CRP, 10.1038/s42256-023-00711-8), equation 6: R(x | θ) multiplies relevance
at a layer by δ, 1 for the channels in θ and 0 for the others. A mask holds these numbers for each
seed and image.
"""

from __future__ import annotations

from dataclasses import dataclass

from lrpc.errors import ConfigError
from lrpc.ir.graph import Graph, Value
from lrpc.ir.ops import TABLE, Trait
from lrpc.ir.types import Dim, K, Sym, TensorType

POSITIONS = ":positions"
_FIRST, _LAST = Trait.CHANNELS_FIRST, Trait.CHANNELS_LAST


@dataclass(frozen=True)
class Condition:
    """What a program can mask: relevance at `value`, by channel, or by position where `name` ends
    in `:positions`. `axes` are those of the mask [K, *value] that are not 1, its batch axis
    aside."""

    name: str
    value: Value
    axes: tuple[int, ...]

    @property
    def mask(self) -> TensorType:
        """The type of the mask: [K, B, 1, C] for the channels of tokens [B, N, C]."""
        dims: list[Dim] = [K]
        for axis, extent in enumerate(self.value.type.shape, 1):
            kept = axis in self.axes or isinstance(extent, Sym)
            dims.append(extent if kept else 1)
        return TensorType(self.value.type.dtype, tuple(dims))


def condition(graph: Graph, name: str) -> Condition:
    """The condition of that name: a place, or `PLACE:positions`. Raises ConfigError where there is
    no such place, or none that can be masked."""
    place = name if name in graph.value_at else name.removesuffix(POSITIONS)
    value = graph.value_at.get(place)
    if value is None:
        raise ConfigError(
            f"a condition is set at {name!r}, which is no place; places:"
            f" {', '.join(graph.value_at) or 'none'}"
        )
    if any(value == given for given in graph.inputs):
        raise ConfigError(f"{place!r} is an input, where relevance ends; no condition acts there")
    symbols = [d for d in value.type.shape if isinstance(d, Sym)]
    if symbols != [Sym(1, batch=1)] or value.type.rank < 2:
        raise ConfigError(
            f"{place!r} is {value.type}: a condition masks what has an axis of images of its own"
            " and one of channels; set it at the output of another module"
        )
    channels = channel_axis(graph, value)
    rest = [i for i, d in enumerate(value.type.shape) if not isinstance(d, Sym) and i != channels]
    if place == name:
        return Condition(name, value, (channels + 1,))
    if not rest:
        raise ConfigError(f"{name!r}: {place!r} is {value.type}, without positions")
    return Condition(name, value, tuple(i + 1 for i in rest))


def channel_axis(graph: Graph, value: Value) -> int:
    """The axis of the channels: where the map that a value comes from has its own, through
    operations that keep the shape; else axis 1 of maps, the last one of tokens."""
    near, shape = value, value.type.shape
    while (node := graph.producers.get(near.name)) is not None:
        row = TABLE[node.op]
        if row.has(_FIRST) or row.has(_LAST):
            batch = next(i for i, d in enumerate(shape) if isinstance(d, Sym))
            return len(shape) - 1 if row.has(_LAST) else 1 if batch == 0 else 0
        same = [v for v in node.inputs if v.type.shape == shape]
        if not same:
            break
        near = same[0]
    return 1 if len(shape) > 3 else len(shape) - 1
