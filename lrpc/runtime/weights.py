"""Weights by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def pair(w: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """The weight and the bias whose names differ only at the `*` of this one."""
    return w[name.replace("*", "weight")], w[name.replace("*", "bias")]


def magnitudes(w: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Those of the weight and the bias."""
    weight, bias = pair(w, name)
    return weight.abs(), bias.abs()
