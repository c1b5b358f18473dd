"""Every call of torch that takes a tensor is right on other images and batches, or refused.

All sample calls of all names are slow; one of each name, and a program of each row, are not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from lrpc.frontend.lowering.table import ROWS
from tests.opdb.calls import Call, calls
from tests.opdb.check import verdict
from tests.opdb.emitted import compiled_verdict
from tests.opdb.names import NAMESPACES
from tests.opdb.samples import samples
from tests.opdb.survey import WORDS, every_name, surveyed

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 12
NAMES = every_name()
UPDATE = "Run: python tools/make_operations.py"


@cache
def page() -> dict[str, str]:
    """What docs/operations.md says of each name."""
    words: dict[str, str] = {}
    space, word = "", ""
    for line in (ROOT / "docs" / "operations.md").read_text().splitlines():
        if line.startswith("## "):
            space = line.removeprefix("## ").strip("`")
        elif line.startswith("**"):
            word = line.partition("**")[2].partition(" ")[0].lower().rstrip(".:,*")
        if space in NAMESPACES:
            names = line.split(" | ")[-1] if line.startswith("| ") else line
            words |= {f"{space}.{n}": word for n in re.findall(r"`([\w]+)`", names)}
    return words


@pytest.mark.parametrize("shard", range(4))
def test_one_call_of_each_name_is_right_or_refused(shard: int) -> None:
    """And the page says of the name what came of it, or better."""
    faults, stale = [], []
    for space, name in NAMES[shard::4]:
        found = surveyed(space, name, brief=True)
        faults += found.faults
        said = page().get(f"{space}.{name}", "")
        if said not in WORDS[: 1 + WORDS.index(found.word)]:
            stale.append(f"{space}.{name}: {said!r}, and a call of it {found.word}")
    assert not faults, "\n".join(faults)
    assert not stale, f"{stale}\n{UPDATE}"


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_call_is_wrong(shard: int) -> None:
    """Nor ends in another error than a refusal with a place, in words of the user's; and the page
    says what came of each."""
    faults, stale = [], []
    for space, name in NAMES[shard::SHARDS]:
        found = surveyed(space, name)
        faults += found.faults
        if page().get(f"{space}.{name}") != found.word:
            stale.append(f"{space}.{name}: {found.word}")
    assert not faults, "\n".join(faults)
    assert not stale, f"{stale}\n{UPDATE}"


def programs(space: str, name: str, most: int) -> list[Call]:
    """Calls of a name that compile, on floating inputs with the batch in front."""
    found: list[Call] = []
    for sample in samples(space, name, most):
        for call in calls(space, name, sample):
            floating = any(x.is_floating_point() and x.numel() for x in call.like.values())
            if call.way[1] == "front" and floating and verdict(call).kind == "right":
                found.append(call)
                break
        if len(found) == most:
            break
    return found


def hold_against_autograd(names: Sequence[tuple[str, str]], most: int) -> int:
    """How many of their calls compile, all of which must hold."""
    faults = []
    count = 0
    for space, name in names:
        for call in programs(space, name, most):
            found = compiled_verdict(call)
            count += found.kind == "right"
            if found.kind not in ("right", "refused"):
                faults.append(f"{found.kind}: {found.text}\n  in {call}")
    assert not faults, "\n".join(faults)
    return count


#: Functions of each namespace; in-place and method forms lower to the same rows.
FUNCTIONS = [n for n in NAMES if n[0] != "torch.Tensor" and n[1] in ROWS]


@pytest.mark.parametrize("shard", range(2))
def test_a_program_of_each_row_holds_against_autograd(shard: int) -> None:
    firsts = {ROWS[name]: (space, name) for space, name in reversed(FUNCTIONS)}
    assert hold_against_autograd(list(firsts.values())[shard::2], 1) > 20


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(3))
def test_programs_of_one_call_hold_against_autograd(shard: int) -> None:
    assert hold_against_autograd(FUNCTIONS[shard::3], 2) > 20
