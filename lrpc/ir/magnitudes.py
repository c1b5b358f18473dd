"""Names of magnitudes of weights: programs take them where they read them, and hold the weights
alone."""

from __future__ import annotations

KIND = "magnitude"


def source(name: str) -> str:
    """The weight, or the pattern of a weight and its bias, whose magnitude is meant; "" where
    `name` is no magnitude."""
    return name.removesuffix(f"@{KIND}") if name.endswith(f"@{KIND}") else ""
