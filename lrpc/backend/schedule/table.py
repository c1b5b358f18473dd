"""What the op table says to schedules: memory, texts, and which attributes are weights."""

from __future__ import annotations

from lrpc.backend.emission import EMISSION
from lrpc.ir.ops import TABLE, Trait, View, views, with_trait

SAME_MEMORY = views(View.IN_ORDER, View.PERMUTED)  # their results are other names of all of it
_ALLOCATING = with_trait(Trait.ALLOCATES)


def allocates(op: str) -> bool:
    """Whether the result never shares memory with an operand or a weight."""
    return op in _ALLOCATING


def operands_over(op: str) -> int:
    """How many of its first operands an operation can write its result over."""
    return len(EMISSION[op].over)


def template(op: str, over: int | None = None) -> str:
    """The text of an operation, or of the one that writes over an operand."""
    emission = EMISSION[op]
    return emission.text if over is None else emission.over[over]


def is_weight(op: str, attr: str) -> bool:
    """Whether an attribute names a weight."""
    return TABLE[op].kind(attr) == "weight"
