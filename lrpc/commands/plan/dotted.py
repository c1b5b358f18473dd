"""Paths of modules in tables: lines break where a part of the path ends."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.containers import Lines
from rich.text import Text

_PART = re.compile(r"[^.,:\s_]*[.,:_]*\s*")


class Dotted(Text):
    """Text that breaks after dots, commas, underscores and spaces, and inside a word only where
    that alone is longer than a line."""

    def wrap(self, console: Console, width: int, **options: Any) -> Lines:
        """The lines of at most `width` characters."""
        found = Lines()
        for line in self.split(allow_blank=True):
            found.extend(line.divide(breaks(line.plain, width)))
        for line in found:
            line.rstrip()
        return found


def breaks(text: str, width: int) -> list[int]:
    """Where a line of text is broken to fit `width` characters."""
    found, start, width = [], 0, max(width, 1)
    for match in _PART.finditer(text):
        first, last = match.start(), match.start() + len(match[0].rstrip())
        if last - start > width and first > start:
            found.append(first)
            start = first
        while last - start > width:  # one part is longer than a line
            start += width
            found.append(start)
    return found
