"""What a masked score is: a number that stands for minus infinity, and no activation."""

from __future__ import annotations

HIDES = -1e30
"""At or below this a score is masked: softmax leaves nothing of it, and no relevance goes there."""


def hides(value: float) -> bool:
    """Whether filling with `value` is masking."""
    return value <= HIDES
