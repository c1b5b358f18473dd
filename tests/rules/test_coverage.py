"""docs/coverage.md says what is so."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lrpc.ir.ops import TABLE
from lrpc.rules import CATALOGUE
from tests.parity.registry import rows
from tests.rules.test_catalogue import twin_tested
from tests.support.coverage_models import MODELS
from tests.support.random_checks import MISSED

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "coverage.md").read_text()
UPDATE = "Run: python tools/make_coverage.py"


def table() -> dict[tuple[str, str], tuple[str, str, str]]:
    """(op, rule) → the cells for twin, parity and random graphs."""
    found = {}
    for line in TEXT.split("\n## ")[1].splitlines():
        if line.startswith("| `"):
            op, rule, *cells = (cell.strip().strip("`") for cell in line.strip("|").split("|"))
            found[op, rule] = (cells[0], cells[1], cells[2])
    return found


def test_the_page_lists_every_rule_and_every_model() -> None:
    assert table().keys() == set(CATALOGUE), UPDATE
    assert [line[4:] for line in TEXT.splitlines() if line.startswith("### ")] == [
        name for name, _ in MODELS
    ], UPDATE


def test_the_page_names_what_holds_each_rule() -> None:
    packages = {pair: set[str]() for pair in CATALOGUE}
    for row in rows():
        packages[row.op, row.rule].add(row.package)
    random = set(CATALOGUE) - MISSED
    for pair, cells in table().items():
        expected = (
            "yes" if pair in twin_tested() else "",
            ", ".join(sorted(packages[pair])),
            "yes" if pair in random else "",
        )
        assert cells == expected, (pair, UPDATE)


def test_the_page_lists_the_operations_that_have_no_rule() -> None:
    ruled = {op for op, _ in CATALOGUE}
    words = set(TEXT.split("\n## ")[2].replace("`", "").replace(",", " ").split())
    assert {"compare", "full"} <= words & set(TABLE)
    assert not ruled & {w for w in words if f"`{w}`" in TEXT.split("\n## ")[2]}, UPDATE


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("torchvision") and find_spec("transformers")),
    reason="the page is made with torchvision and transformers at hand",
)
def test_the_page_is_what_the_tool_makes() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "make_coverage.py"), "--check"]
    ran = subprocess.run(tool, capture_output=True, text=True)
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}\n{UPDATE}"
