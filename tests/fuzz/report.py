"""Runs many cases of a fuzz command and counts what came of them."""

from __future__ import annotations

import argparse
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

#: One case: its number and seed → what came of it. Any exception is a failure.
Case = Callable[[int, int], str]


class Report:
    """Counts of outcomes, and one example for every place that raised."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: dict[str, tuple[int, str]] = {}

    def run(self, case: Case, count: int, seed: int, said: float = 0.0) -> None:
        """Run cases 0 … count − 1 of a seed; every `said` seconds say how far it is."""
        begin = last = time.monotonic()
        for number in range(count):
            try:
                self.outcomes[case(number, seed)] += 1
            except Exception as error:
                self.outcomes["FAILED"] += 1
                key = _signature(error)
                self.failures.setdefault(key, (number, traceback.format_exc()[-1500:]))
            now = time.monotonic()
            if said and now - last > said:
                last = now
                speed = (number + 1) / (now - begin)
                print(f"{number + 1:,} cases, {speed:,.0f} a second: {self}", flush=True)

    def __str__(self) -> str:
        return ", ".join(f"{n:,} {what}" for what, n in self.outcomes.most_common())


def ascii_of(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _signature(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/lrpc/" in f.filename or "/passes/" in f.filename]
    last = own[-1] if own else frames[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error!s:.90}"


def command(what: str, case: Case, count: int) -> int:
    """The command line of a fuzz module; 1 where a case failed."""
    parser = argparse.ArgumentParser(description=f"Feed mutated {what} to the compiler.")
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    report = Report()
    report.run(case, args.count, args.seed, said=60.0)
    print(f"{args.count:,} {what} with seed {args.seed}: {report}")
    for key, (number, text) in report.failures.items():
        print(ascii_of(f"\ncase {number}: {key}\n{text}"))
    return int(bool(report.failures))
