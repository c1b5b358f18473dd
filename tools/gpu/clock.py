"""How much of a part's time is left: what would not end in it is not begun."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tools.gpu.records import SkippedError


@dataclass
class Clock:
    """Counts until `end`, by time.perf_counter. Pieces of one kind take about equally long."""

    end: float
    longest: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def one(self, kind: str) -> Iterator[None]:
        """A piece of work. Raises SkippedError where one as long as the longest of its kind would
        not end in time."""
        begin = time.perf_counter()
        if begin + self.longest.get(kind, 0.0) > self.end:
            raise SkippedError("no time was left for it")
        yield
        taken = time.perf_counter() - begin
        self.longest[kind] = max(taken, self.longest.get(kind, 0.0))
