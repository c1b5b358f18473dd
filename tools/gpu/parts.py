"""What a child process of tools/gpu_check.py does: one part, whose records go to a file."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tools.gpu.clock import Clock
from tools.gpu.records import Records, SkippedError

ROOT = Path(__file__).resolve().parents[2]
CASE = ".case.json"  # beside the records: a case of tools/bench
CHECKING, ALL = 0.6, 0.95  # of a part's time: for checking rows before they are timed, for it all


@dataclass(frozen=True)
class Asked:
    """What a part is asked for: the programs' folder, the device, and the seconds that it has."""

    store: Path
    device: str
    tiny: bool
    seconds: float


def run(name: str, records_file: Path, asked: Asked) -> int:
    """Do the part `name`: its kind, and what it is of after a colon. 0 where it ran to its end."""
    kind, _, what = name.partition(":")
    records = Records(records_file, name)
    with records.checking(name):
        PARTS[kind](records, what, asked)
    return 0


def kernels(records: Records, what: str, asked: Asked) -> None:
    clock = Clock(time.perf_counter() + ALL * asked.seconds)
    importlib.import_module("tools.gpu.kernels").run(records, asked.tiny, clock)


def of_program(module: str, name: str, records: Records, what: str, asked: Asked) -> None:
    """`checks` or `times` of the program `what`."""
    directory = asked.store / what
    if not directory.is_dir():
        raise SkippedError("its program was not compiled")
    kind = getattr(importlib.import_module(f"tools.gpu.{module}"), name)
    clock = Clock(time.perf_counter() + ALL * asked.seconds)
    kind(records, directory, asked.device, asked.tiny, clock).run()


def bench(records: Records, what: str, asked: Asked) -> None:
    until = time.perf_counter() + CHECKING * asked.seconds
    options = options_of(asked, until=until)
    keep = records.path.with_suffix(CASE)
    importlib.import_module("tools.gpu.tables").run(records, what, options, keep)


def warm(records: Records, what: str, asked: Asked) -> None:
    options = options_of(asked)
    case, _, way = what.partition(":")
    only = tuple(one for one in options.configurations if one.name == way)
    chosen = replace(options, configurations=only)
    importlib.import_module("tools.gpu.tables").warm(records, case, chosen)


def options_of(asked: Asked, **more: Any) -> Any:
    made = importlib.import_module("tools.gpu.prepared").options_of
    return made(asked.device, asked.tiny, asked.store, **more)


def programs(records: Records, what: str, asked: Asked) -> None:
    """Compile some of the programs into the store, on the CPU: `1/4` is every fourth from the
    second."""
    first, count = map(int, what.split("/"))
    torch.set_num_threads(2)
    prepared = importlib.import_module("tools.gpu.prepared")
    for job in prepared.jobs(asked.store, asked.tiny)[first::count]:
        begin = time.perf_counter()
        with records.checking(job.name):
            job.make()
            records.ok(job.name, time.perf_counter() - begin, "seconds")


def tests(records: Records, what: str, asked: Asked) -> None:
    """The tests marked `gpu`, each file's in one run of pytest."""
    if importlib.util.find_spec("pytest") is None:
        raise SkippedError(
            "pytest is not installed; the parts kernels and checks make the same comparisons"
        )
    found = [
        path.relative_to(ROOT)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if re.search(r"^(pytestmark = |@)pytest\.mark\.gpu\b", path.read_text(), re.MULTILINE)
    ]
    plain = ["-c", os.devnull, "--rootdir", str(ROOT), "--noconftest", "-W", "ignore"]
    own = plain if importlib.util.find_spec("hypothesis") is None else []
    for path in found:
        with records.checking(str(path)):
            _tested(records, path, own)


def _tested(records: Records, path: Path, own: Sequence[str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-m", "gpu", *own]
    command += ["-p", "no:cacheprovider", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or [done.stderr[-200:]]
    told = next((line for line in reversed(lines) if re.match(r"\d+ \w+", line)), lines[-1])
    if done.returncode:
        failure = next((x for x in lines if x.startswith(("FAILED", "ERROR", "E  "))), told)
        records.failed(str(path), failure)
    elif "passed" not in told:
        records.skipped(str(path), next((x for x in lines if x.startswith("SKIPPED")), told))
    else:
        records.ok(str(path), note=told)


PARTS: dict[str, Callable[[Records, str, Asked], None]] = {
    "kernels": kernels,
    "tests": tests,
    "checks": partial(of_program, "checks", "Checks"),
    "times": partial(of_program, "times", "Times"),
    "bench": bench,
    "warm": warm,
    "programs": programs,
}
