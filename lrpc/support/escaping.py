"""Text from anywhere as text that only shows."""

from __future__ import annotations

import re

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """`text` in one line: control characters, line ends, directions of writing and lone surrogates
    as Python would escape them, so that nothing obeys them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def visible_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(visible, text.split("\n")))


def file_word(name: str) -> str:
    """`name` as a part of a file's name: letters, digits and _ . + - only."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name)[:64]


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return _SHORT.get(character, f"\\x{number:02x}")
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
