"""What a config says of a composite's own options."""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.config.checks import SOURCES
from lrpc.config.node import Config


def composite_options(config: Config) -> dict[str, object]:
    """The options of the config's composite that the config sets, by their names."""
    node = config.LRPC
    given = {
        "conv_gamma": node.GAMMA.CONVOLUTION,
        "linear_gamma": node.GAMMA.LINEAR,
        "low": node.BOX.LOW,
        "high": node.BOX.HIGH,
    }
    if "epsilon_gamma_box" in _names(node.COMPOSITE) and node.SOURCE in SOURCES:
        # These models normalise pixels from 0 to 255.
        pairs = list(zip(config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD, strict=True))
        usual = {"low": 0.0, "high": 255.0}
        for name, pixel in usual.items():
            if given[name] is None:
                given[name] = tuple((pixel - mean) / std for mean, std in pairs)
    return {name: value for name, value in given.items() if value is not None}


def _names(given: str | Sequence[str] | Config) -> set[str]:
    """The composites that LRPC.COMPOSITE starts from, one or several."""
    if isinstance(given, Config):
        return {str(w.get("composite") if isinstance(w, Config) else w) for w in given.values()}
    return {given} if isinstance(given, str) else set(given)
