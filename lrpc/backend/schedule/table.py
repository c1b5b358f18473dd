"""What the op table says to schedules: memory, texts, and which attributes are weights."""

from __future__ import annotations

from lrpc.ir.ops import TABLE

SAME_MEMORY = frozenset({"reshape", "permute"})  # their results are other names of all of it


def allocates(op: str) -> bool:
    """Whether the result never shares memory with an operand or a weight."""
    return TABLE[op].allocates


def operands_over(op: str) -> int:
    """How many of its first operands an operation can write its result over."""
    return len(TABLE[op].over)


def template(op: str, over: int | None = None) -> str:
    """The text of an operation, or of the one that writes over an operand."""
    row = TABLE[op]
    return row.emit if over is None else row.over[over]


def is_weight(op: str, attr: str) -> bool:
    """Whether an attribute names a weight."""
    return TABLE[op].kind(attr) == "weight"


def is_extent(op: str, attr: str) -> bool:
    """Whether an attribute is an extent, or several: integers and symbols."""
    return TABLE[op].kind(attr) in ("dim", "dims")
