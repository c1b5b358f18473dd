"""What was checked or measured, line by line: a part that is ended keeps what it has found."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


class SkippedError(Exception):
    """A check that cannot be made here; its text says what it needs."""


@dataclass(frozen=True)
class Record:
    """One check or figure of a part. `kind` is the unit of `value` and `limit`: `error`, `seconds`,
    `bytes` or `share`; "" where there is no figure."""

    part: str
    name: str
    status: str = OK
    value: float | None = None
    limit: float | None = None
    kind: str = ""
    note: str = ""


class Records:
    """Appends the records of one part to a file."""

    def __init__(self, path: Path, part: str) -> None:
        self.path, self.part = path, part

    def add(self, record: Record) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(record)) + "\n")

    def ok(self, name: str, value: float | None = None, kind: str = "", note: str = "") -> None:
        """A check that holds, or a figure without a limit."""
        self.add(Record(self.part, name, OK, value, None, kind, note))

    def failed(self, name: str, note: str) -> None:
        self.add(Record(self.part, name, FAILED, note=note))

    def skipped(self, name: str, note: str) -> None:
        self.add(Record(self.part, name, SKIPPED, note=note))

    def limited(self, name: str, value: float, limit: float, kind: str, note: str = "") -> None:
        """A figure that may not exceed its limit, and must be finite."""
        if not math.isfinite(value):
            self.failed(name, f"{value}; {note}" if note else str(value))
            return
        status = OK if value <= limit else FAILED
        self.add(Record(self.part, name, status, value, limit, kind, note))

    @contextmanager
    def checking(self, name: str) -> Iterator[None]:
        """A check that may raise anything, which becomes its record: the next ones follow."""
        try:
            yield
        except SkippedError as reason:
            self.skipped(name, str(reason))
        except (
            Exception
        ) as error:  # whatever CUDA, a compiler or a program raises: the rest goes on
            self.failed(name, line_of(error))


def line_of(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    first = " ".join((str(error).splitlines() or [""])[0].split())
    return f"{type(error).__name__}: {first}"[:300]


def read(path: Path) -> list[Record]:
    """The records of a file; a last line that was cut off is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(Record(**json.loads(line)))
        except ValueError:
            break
    return found


def figure(value: float | None, kind: str) -> str:
    """A value in the units of tables."""
    from lrpc.commands.bench.tables import duration
    from lrpc.commands.session.units import size

    if value is None:
        return ""
    shows: Mapping[str, Any] = {
        "seconds": duration,
        "bytes": lambda x: size(int(x)),
        "share": "{:.1%}".format,
        "error": "{:.0e}".format,
    }
    shown: str = shows[kind](value)
    return shown
