"""Text from anywhere as text that only shows."""

from __future__ import annotations

import re


def visible(text: str) -> str:
    """`text` in one line: control characters, line ends, directions of writing and lone surrogates
    as Python would escape them, so that nothing obeys them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def visible_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(visible, text.split("\n")))


def file_word(name: str) -> str:
    """`name` as a part of a file's name: letters, digits and _ . + - only."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name)[:64]
