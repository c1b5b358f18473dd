"""Numbers and names as tables and pictures show them."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size(count: float) -> str:
    """Bytes in decimal units with three digits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            digits = 2 if count < 10 * scale else 1 if count < 100 * scale else 0
            return f"{count / scale:.{digits}f} {unit}"
    return f"{count:.0f} B"


def shortened(text: str, length: int) -> str:
    """The end of a text that is too long, from where a part of a path begins."""
    if len(text) <= length:
        return text
    end = text[1 - length :]
    dot = end.find(".")
    return "…" + (end[dot + 1 :] if 0 <= dot < length // 2 else end)
