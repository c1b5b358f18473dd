"""Conditions of a command: which channels pass at which places, checked before any image."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from lrpc.errors import ProgramError
from lrpc.support.untrusted import near

Condition = tuple[tuple[str, tuple[int, ...]], ...]
_MOST = 10**6


def condition_part(text: str) -> tuple[str, tuple[int, ...]]:
    """A type for argparse: PLACE=7,12-14, numbers and ranges with both ends."""
    place, _, listed = text.partition("=")
    numbers: list[int] = []
    for word in listed.split(","):
        first, dash, last = word.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.isdecimal() and end.isascii() and int(end) < _MOST for end in ends):
            numbers = []
            break
        numbers += range(int(ends[0]), int(ends[1]) + 1)
    if not place or not numbers:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not PLACE=CHANNELS, such as encoder.layers.3=7,12-14"
        )
    return place, tuple(numbers)


def joined(parts: Sequence[tuple[str, tuple[int, ...]]]) -> Condition:
    """All parts as one condition: numbers of a place that is named again are added."""
    found: dict[str, dict[int, None]] = {}
    for place, numbers in parts:
        found.setdefault(place, {}).update(dict.fromkeys(numbers))
    return tuple((place, tuple(sorted(numbers))) for place, numbers in found.items())


def check_condition(program: Any, targets: Sequence[str], condition: Condition) -> None:
    """Raise ProgramError where a target passes no such place, or it has no such channel."""
    starts: Mapping[str, Any] = program.interface.targets if condition else {}
    for target in targets if condition else ():
        masks = starts[target].masks
        for place, numbers in condition:
            if place not in masks:
                close = near(place, list(masks))
                known = f"did you mean '{close}'?" if close else f"it has {', '.join(masks)}"
                known = known if masks else "it was compiled without any"
                raise ProgramError(
                    f"condition at '{place}': relevance of '{target}' passes no such mask; {known}"
                    " (LRPC.CONDITIONS)"
                )
            mask = masks[place]
            extents = [mask.shape[axis] for axis in mask.axes]
            if len(extents) != 1:
                raise ProgramError(
                    f"condition at '{place}': its masks have {len(extents)} axes; use"
                    " p.relevance(..., condition=...)"
                )
            size = extents[0]
            if isinstance(size, int) and max(numbers, default=0) >= size:
                raise ProgramError(
                    f"condition at '{place}': channel {max(numbers)}; it has 0..{size - 1}"
                )
