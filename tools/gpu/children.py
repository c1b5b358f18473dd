"""Parts run as processes of their own: one that crashes, or is ended at its limit, takes no other
with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.gpu.records import FAILED, Record, read

SECONDS = "GPU_CHECK_SECONDS"  # the environment variable that tells a part how long it may take


@dataclass(frozen=True)
class Part:
    """A part: its command, the most seconds that it may take, and where its records and output
    go."""

    name: str
    command: Sequence[str]
    limit_s: float
    records: Path
    log: Path
    env: dict[str, str] = field(default_factory=dict)


@dataclass
class Ended:
    """A part that has ended: what it recorded, and how it ended where not well."""

    part: Part
    seconds: float
    records: list[Record]
    trouble: str = ""

    @property
    def failed(self) -> bool:
        return bool(self.trouble) or any(record.status == FAILED for record in self.records)


@dataclass
class Running:
    part: Part
    process: subprocess.Popen[bytes]
    begin: float
    until: float

    def ended(self, now: float) -> str | None:
        """How it ended, "" for well; None while it runs. Past its limit it is ended."""
        code = self.process.poll()
        if code is None and now < self.until:
            return None
        if code is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own group: its children with it
            self.process.wait()
            return f"ended after {now - self.begin:.0f} s, its limit"
        return "" if code == 0 else f"exit code {code}: {last_line(self.part.log)}"


def run_all(
    parts: Sequence[Part], at_once: int, until: float, tell: Callable[[str], None]
) -> list[Ended]:
    """Run parts, so many at once, until each ends or `until` is there, by time.perf_counter."""
    waiting, running, done = list(parts), list[Running](), list[Ended]()
    while waiting or running:
        while waiting and time.perf_counter() >= until:
            done.append(Ended(waiting.pop(0), 0.0, [], "no time was left for it"))
            tell(f"{done[-1].part.name}: no time was left for it")
        while waiting and len(running) < at_once:
            running.append(started(waiting.pop(0), until))
        now = time.perf_counter()
        for one in running[:]:
            trouble = one.ended(now)
            if trouble is not None:
                running.remove(one)
                done.append(Ended(one.part, now - one.begin, read(one.part.records), trouble))
                tell(f"{one.part.name}: {now - one.begin:.0f} s{', ' * bool(trouble)}{trouble}")
        if running:
            wait_for_one(running)
    return done


def started(part: Part, until: float) -> Running:
    """A part as a process, with a process group of its own."""
    begin = time.perf_counter()
    env = {**os.environ, **part.env, SECONDS: f"{min(part.limit_s, until - begin):.0f}"}
    with part.log.open("wb") as log:
        process = subprocess.Popen(
            part.command, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
    return Running(part, process, begin, min(begin + part.limit_s, until))


def wait_for_one(running: Sequence[Running]) -> None:
    """Sleep until the oldest process ends, or a moment."""
    try:
        running[0].process.wait(0.2)
    except subprocess.TimeoutExpired:
        return


def last_line(path: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
    return next((line[:200] for line in reversed(lines) if line), "no output")
