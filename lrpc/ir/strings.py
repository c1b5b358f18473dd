"""Strings in quotes, in the text form of a graph: those of JSON, and halves of surrogate pairs.

Paths of files and names of modules may hold such halves. JSON would read two of them that meet as
one character; `\\U0000dc80` stands for the half alone.
"""

from __future__ import annotations

import json
import re

_HALF = re.compile("[\ud800-\udfff]")
# JSON, then perhaps half of a pair; no character is read twice.
_PART = re.compile(r"((?:[^\\]|\\[^U])*+)(?:\\U0000([dD][89a-fA-F][0-9a-fA-F]{2}))?+", re.DOTALL)


def in_quotes(text: str) -> str:
    """`text` in double quotes, in ASCII; `out_of_quotes` of it is the same text."""
    if not _HALF.search(text):
        return json.dumps(text)
    parts = re.split(f"({_HALF.pattern})", text)
    halves = (f"\\U{ord(half):08x}" for half in parts[1::2])
    texts = [json.dumps(part)[1:-1] for part in parts[::2]]
    return f'"{texts[0]}{"".join(h + t for h, t in zip(halves, texts[1:], strict=True))}"'


def out_of_quotes(quoted: str) -> str:
    """The text that `quoted` stands for; ValueError for an escape that is none."""
    inner, found, at = quoted[1:-1], list[str](), 0
    if "\\" not in inner:
        return inner
    while at < len(inner):
        match = _PART.match(inner, at)
        if match is None or match.end() == at:
            raise ValueError("not an escape")
        text, half = match.groups()
        found.append(str(json.loads(f'"{text}"', strict=False)))
        found.append(chr(int(half, 16)) if half else "")
        at = match.end()
    return "".join(found)
