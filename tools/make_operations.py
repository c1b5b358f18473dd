#!/usr/bin/env python3
"""Writes docs/operations.md: which calls of torch compile, and which are refused and why. It runs
every sample call of the tests, which takes minutes."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.opdb.names import NAMESPACES  # noqa: E402
from tests.opdb.survey import Surveyed, every_name, surveyed  # noqa: E402

PAGE = ROOT / "docs" / "operations.md"
HEAD = """<!-- Made by tools/make_operations.py from the sample calls of the tests: run it. -->
# Operations of torch

Which functions of torch, and methods and attributes of `torch.Tensor`, can be compiled where their
tensors depend on the inputs of the model. What depends on parameters and constants alone is
computed at compilation and is not restricted.

The tables come from calling each function with torch's own sample arguments: with the batch as an
axis in front, as the first axis or not at all, and with the other arguments traced or constant. A
call that compiles gives torch's results on other values and for one, two and five images
(`tests/frontend/test_every_call.py`).

- **Compiles**: at least some of the sample calls compile. Arguments that do not are refused in one
  line, with the place in your model.
- **Fixed to the example**: the call returns Python numbers that depend on data. The program uses
  those of the example, with a warning.
- **Refused**: compilation stops, with the reason below and the place in your model.
"""


def page(found: Iterable[Surveyed]) -> str:
    """The page from what came of every name."""
    groups: dict[str, dict[str, list[Surveyed]]] = defaultdict(lambda: defaultdict(list))
    for row in found:
        groups[row.space][row.word].append(row)
    return HEAD + "".join(_part(space, groups[space]) for space in NAMESPACES)


def _part(space: str, words: Mapping[str, list[Surveyed]]) -> str:
    lines = [f"\n## {space}\n"]
    for word, title in (("compiles", "Compiles"), ("fixed", "Fixed to the example")):
        if rows := words.get(word):
            lines.append(f"\n**{title}**: {_names(rows)}\n")
    if rows := words.get("refused"):
        lines.append("\n**Refused**\n\n| why | what |\n|---|---|\n")
        reasons: dict[str, list[Surveyed]] = defaultdict(list)
        for row in rows:
            reasons[row.reason].append(row)
        lines += [f"| {why} | {_names(reasons[why])} |\n" for why in sorted(reasons)]
    if rows := words.get("uncalled"):
        lines.append(f"\n**Uncalled** (torch has no sample call that runs here): {_names(rows)}\n")
    return "".join(lines)


def _names(rows: Iterable[Surveyed]) -> str:
    return ", ".join(f"`{row.name}`" for row in rows)


def _surveyed(pair: tuple[str, str]) -> Surveyed:
    return surveyed(*pair)


def main() -> int:
    """Write the page; with --check only say whether it is current. 1 where a call is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it is old")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    # Not forked: torch's threads would be missing in the children, and be waited for.
    own = get_context("spawn")
    with ProcessPoolExecutor(given.processes, own, torch.set_num_threads, (1,)) as pool:
        found = list(pool.map(_surveyed, every_name(), chunksize=8))
    for row in found:
        print(*row.faults, sep="\n", end="\n" if row.faults else "", file=sys.stderr)
    print(dict(sum((row.counts for row in found), Counter())))
    text, wrong = page(found), any(row.faults for row in found)
    if PAGE.is_file() and PAGE.read_text() == text:
        return int(wrong)
    if not given.check:
        PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)}: {'is not current' if given.check else 'written'}")
    return int(wrong or given.check)


if __name__ == "__main__":
    sys.exit(main())
