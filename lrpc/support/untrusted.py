"""What others wrote, taken within limits: files of a bounded size, names cut to a line."""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from lrpc.support.escaping import visible

#: Comparing two names takes the product of their lengths: longer ones than this have no near one.
NEAR_LENGTH = 100
#: How many known names, the first ones, are compared with an unknown one.
NEAR_KNOWN = 1_000
#: How much of a name an error shows.
SHOWN = 60


def short(text: str, most: int = SHOWN) -> str:
    """A name or value on one printable line, cut after `most` characters."""
    line = visible(text[: most + 1])
    return line if len(line) <= most else f"{line[:most]}…"


def is_text(text: str) -> bool:
    """Whether a file can hold `text`: no half of a surrogate pair is in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def near(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is spelt most like `name`, or None."""
    return next(iter(nearest(name, known, 1, cutoff)), None)


def meant(name: object, known: Iterable[str], quoted: bool = False) -> str:
    """`; did you mean NAME?` where one of the known names is close, else nothing."""
    close = near(name, known) if isinstance(name, str) else None
    return f"; did you mean {repr(close) if quoted else close}?" if close else ""


def nearest(name: str, known: Iterable[str], most: int, cutoff: float = 0.6) -> list[str]:
    """The known names that are spelt most like `name`, the nearest first."""
    if len(name) > NEAR_LENGTH:
        return []
    some = [k for k in islice(known, NEAR_KNOWN) if len(k) <= NEAR_LENGTH]
    return difflib.get_close_matches(name, some, most, cutoff)


class Unreadable(Exception):
    """Why a file cannot be read, in words that follow its name; `found` tells whether there is a
    file to speak of."""

    def __init__(self, why: str, found: bool = True) -> None:
        super().__init__(why)
        self.found = found


def read_text(path: Path, most: int) -> str:
    """The UTF-8 text of a regular file of at most `most` bytes, without its byte order mark.

    Devices, pipes and folders are refused before a byte of them is read. Raises Unreadable.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unreadable("not a regular file")
            size = os.fstat(file.fileno()).st_size
            data = file.read(min(size, most) + 1)
    except OSError as error:
        raise Unreadable((error.strerror or str(error)).lower(), found=False) from error
    except ValueError as error:  # a NUL or half a character in the path
        raise Unreadable("not a name of a file", found=False) from error
    if len(data) > most:
        raise Unreadable(f"larger than {most:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("not UTF-8 text") from error


def read_json(path: Path, most: int) -> Any:
    """The content of a JSON file of at most `most` bytes. Raises Unreadable."""
    text = read_text(path, most)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"not JSON ({error})") from error


def _without_waiting(path: str, flags: int) -> int:
    """Open a path; a pipe that nobody writes to does not make us wait."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
