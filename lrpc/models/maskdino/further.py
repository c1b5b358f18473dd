"""Outputs beside the last layer's, which a model returns where targets start from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lrpc.config.target_kinds import KINDS
from lrpc.errors import ConfigError

PROPOSALS = "proposal_logits"
BOX_LOGITS, REFINEMENTS = "box_logits", "box_refinements"
_BESIDE = (PROPOSALS, BOX_LOGITS, REFINEMENTS)
_OUTPUT = "output."
_KEY = "LRPC.TARGETS"


def further_outputs(targets: Sequence[str], layers: int, two_stage: bool) -> tuple[str, ...]:
    """The names of what these targets start from, such as `layer_logits.3`, of a decoder with so
    many layers. Raises ConfigError for a layer that is not there, and for proposals of a model
    without two stages."""
    found: dict[str, None] = {}
    for target in targets:
        name, _, layer = target.partition(":")
        kind = KINDS[name]
        if kind.output == PROPOSALS and not two_stage:
            raise ConfigError(f"{_KEY}: {target} needs MODEL.MaskDINO.TWO_STAGE, which is False")
        if kind.output in _BESIDE:
            found[kind.output] = None
        if kind.layers.startswith(_OUTPUT):
            stem = kind.layers.removeprefix(_OUTPUT)
            found |= {f"{stem}{number}": None for number in _numbers(target, layer, layers)}
    return tuple(found)


def _numbers(target: str, layer: str, layers: int) -> Iterator[int]:
    if layer == "*":
        yield from range(layers)
    elif layer and not (layer.isdigit() and int(layer) < layers):
        raise ConfigError(f"{_KEY}: {target}: there are layers 0 to {layers - 1}")
    else:
        yield int(layer or layers - 1)
