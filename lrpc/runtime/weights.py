"""Weights by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def pair(w: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """The weight and the bias whose names differ only at the `*` of this one."""
    return w[name.replace("*", "weight")], w[name.replace("*", "bias")]
