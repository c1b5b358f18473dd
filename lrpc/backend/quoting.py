"""How names and data become text of a program: the only way in for what was read from elsewhere.

Names come from graph texts, manifests, checkpoints, configs and the user's module tree, and may
hold anything. Here each becomes a string literal, a comment or an identifier, and nothing else.
"""

from __future__ import annotations

import keyword
import math
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from lrpc.errors import ProgramError
from lrpc.ir.extents import Extent
from lrpc.ir.types import Sym
from lrpc.support.escaping import visible, visible_lines

LONGEST = 120  # characters of an identifier


def quoted(text: str) -> str:
    """A Python string literal in double quotes, in one line."""
    plain = str.__str__(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{visible(plain)}"'


def comment(text: str) -> str:
    """The text of a comment, without its `#`: one line, whatever is in it."""
    return visible(text)


def docstring(text: str) -> str:
    """A docstring of several lines; names in it must have gone through `comment` or `quoted`."""
    safe = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    safe = visible_lines(safe)
    return f'"""{safe[:-1]}\\""""' if safe.endswith('"') else f'"""{safe}"""'


@lru_cache(maxsize=65536)
def ascii_word(text: str) -> str:
    """`text` as a part of an identifier: letters, digits and underscores of ASCII.

    Python reads an identifier in its compatible form (NFKC), in which two that look apart may be
    one; of ASCII there is one form alone.
    """
    return re.sub(r"[^0-9A-Za-z_]", "_", unicodedata.normalize("NFKC", text))[:LONGEST]


@lru_cache(maxsize=65536)
def identifier(text: str) -> str:
    """A legal Python name that is no keyword, made from `text`; others may give the same."""
    name = ascii_word(text)
    name = name if name.isidentifier() else f"v{name}"
    return f"{name}_" if keyword.iskeyword(name) or name == "__debug__" else name


def literal(value: object) -> str:
    """Plain data as a Python expression; B, K and sizes are local variables of the emitted
    function.

    ProgramError for a value that is none of None, bool, int, float, str, tuple, list and mapping.
    """
    if isinstance(value, Sym | Extent):
        return re.sub(r"//?", " // ", str(value)).replace("*", " * ").replace("+", " + ")
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        plain = float.__repr__(value)
        return plain if math.isfinite(value) else f'float("{plain}")'
    if isinstance(value, Mapping):
        pairs = (f"{literal(key)}: {literal(item)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(literal, value))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    raise ProgramError(
        f"a value of type {type(value).__name__} cannot be written into a program; numbers, texts,"
        " lists and dicts can"
    )
