#!/usr/bin/env python3
"""Writes docs/supported-models.md from the rows of tests/zoo/scanned.json. With --scan, first
compiles the small models of the tests again, which takes half an hour, and writes these rows."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.zoo.rows import Row, read_rows, scan_rows, write_rows  # noqa: E402

PAGE = ROOT / "docs" / "supported-models.md"
HEAD = """<!-- Made by tools/make_models.py from tests/zoo/scanned.json: run it. -->
# Supported models

{summary}

Each model is built small from its configuration, with random weights, perturbed so that nothing is
zero, and compiled by `lrpc.compile` as it is. Everything is computed in float64.

- **Outputs** are compared with the model's: on the example, on other values, and for one, two and
  three images. Bound: 1e-10.
- **Gradient** is `gradient_input` compared with autograd's gradient times input; of tokens, with
  that of their embedding. Bound: 1e-8.
- **Ledger** is what the ledger leaves open, under `attnlrp` and `gradient_input`. Bound: 1e-10.
- **Roles**: whether residuals, norms, attentions, deformable samplings and sums with positions are
  as many as the architecture has, by the numbers of its configuration. Empty where the tests do not
  count them (`tests/zoo/roles.py`).
- **Time**: forward pass and relevance by `attnlrp`, divided by the model's forward pass and
  autograd; CPU time on one core, best of five in turns. Models are so small that much of it is
  the time of calls.

Differences are relative to the largest value (of tokens' gradients: to the largest sum of the sizes
of a token's terms), and rounded up to a power of ten. Models marked * cast to float32 in parts,
whatever their dtype is. Their row is of the model with these casts made to float64; as they are,
their bound is 1e-5 (the largest: {float32}).

Detectors of torchvision choose boxes by thresholds and suppression. What compiles is the backbone
with a head; the heads of Faster, Mask and Keypoint R-CNN get a region of fixed place.
"""
TABLE = """
## {package}

| model | outputs | gradient | ledger | roles | time |
|---|---|---|---|---|---|
"""


def page(rows: Iterable[Row]) -> str:
    """The page from what came of every model."""
    packages: dict[str, list[Row]] = {}
    for row in rows:
        packages.setdefault(row.package, []).append(row)
    every = [row for part in packages.values() for row in part]
    largest = max((row.as_is for row in every), default=0.0)
    head = HEAD.format(summary=_summary(packages), float32=_power(largest))
    tables = (
        TABLE.format(package=package) + "".join(map(_line, part))
        for package, part in packages.items()
    )
    return head + "".join(tables)


def _summary(packages: dict[str, list[Row]]) -> str:
    every = [row for part in packages.values() for row in part]
    listed = (f"{_held(part)} of {len(part)} of {name}" for name, part in packages.items())
    counted, refused = sum(row.roles == "yes" for row in every), [r for r in every if r.refused]
    return (
        f"{_held(every)} of {len(every)} small models compile and stay within the bounds below: "
        f"{', '.join(listed)}. Refused: {len(refused)}, each with its line. The roles of {counted} "
        "are checked."
    )


def _held(rows: list[Row]) -> int:
    return sum(row.holds for row in rows)


def _line(row: Row) -> str:
    name = f"{row.model}{' *' if row.as_is else ''}"
    if row.refused:
        return f"| {name} | refused: {row.refused} | | | | |\n"
    figures = " | ".join(map(_power, (row.forward, row.gradient, row.opened)))
    return f"| {name} | {figures} | {row.roles} | {row.time:.1f} |\n"


def _power(value: float) -> str:
    return "0" if value == 0 else f"1e{math.ceil(math.log10(value))}"


def main() -> int:
    """Write the page; with --check only say whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it is old")
    parser.add_argument("--scan", nargs="*", metavar="PACKAGE", help="compile these again, or all")
    parser.add_argument("--only", nargs="*", default=(), metavar="MODEL", help="of these models")
    given = parser.parse_args()
    if given.scan is not None:
        write_rows(scan_rows(given.scan, given.only))
    text = page(read_rows())
    if PAGE.is_file() and PAGE.read_text() == text:
        return 0
    if not given.check:
        PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)}: {'is not current' if given.check else 'written'}")
    return 1 if given.check else 0


if __name__ == "__main__":
    sys.exit(main())
