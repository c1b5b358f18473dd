"""What is said of a job while it runs, and at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lrpc.commands.jobs.worker import Note
from lrpc.commands.session.units import count
from lrpc.support.files import shown
from lrpc.support.log import LOG
from lrpc.support.terminal import say

_EVERY = 10.0  # seconds between lines where no terminal shows a bar


@dataclass
class Told:
    """Counts of a job's images in this run, told as they grow."""

    errors: Console
    left: int
    images: int = 0
    targets: int = 0
    failed: int = 0
    closure: float = 0.0
    amplification: float = 0.0
    begun: float = field(default_factory=time.monotonic)
    _said: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        columns = (
            TextColumn("explaining"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
        )
        shows = self.errors.is_terminal
        self.bar = Progress(*columns, console=self.errors, disable=not shows)
        self._task = self.bar.add_task("", total=self.left, rate="", failed="")

    @property
    def rate(self) -> float:
        """Images per second so far."""
        return self.images / max(time.monotonic() - self.begun, 1e-9)

    def tell(self, done: Sequence[Note]) -> None:
        """Count images that are written, and say which failed."""
        for one in done:
            self.images += 1
            self.targets += one.targets
            self.closure = max(self.closure, one.closure)
            self.amplification = max(self.amplification, one.amplification)
            name = shown(one.name)
            if one.error:
                self.failed += 1
                told = one.error if one.error.startswith(name) else f"{name}: {one.error}"
                say(self.errors, told, "red")
            else:
                LOG.info("%s: %s, %.2f s", name, count(one.targets, "target"), one.seconds)
        failed = f"{self.failed} failed" if self.failed else ""
        rate = f"{self.rate:.2g} images/s"
        self.bar.update(self._task, completed=self.images, rate=rate, failed=failed)
        now = time.monotonic()
        if not self.errors.is_terminal and now - self._said > _EVERY:
            self._said = now
            rest = timedelta(seconds=round((self.left - self.images) / max(self.rate, 1e-9)))
            say(self.errors, f"{self.images} of {count(self.left, 'image')}, {rate}, {rest} left")
