"""A budget is kept by the whole program: ends that targets share may hold more than each alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from lrpc.backend.memory import choose as module
from lrpc.backend.memory.choose import choose
from lrpc.backend.memory.search import Configuration
from lrpc.errors import ConfigError

ALONE = {"least": 40, "less": 60, "free": 100}  # the bytes of each target alone, by what is kept
WHOLE = {"least": 50, "less": 75, "free": 100}


@dataclass(frozen=True)
class Model:
    """What the search runs."""

    chunk: int = 1
    sizes: Mapping[str, int] = field(default_factory=dict)


MODEL: Any = Model()


class Search:
    """The search among three configurations, each cheaper than the one before it."""

    def __init__(self, model: Any, checkpoint: str, budget: bool) -> None:
        self.free, self.seeds, self.least = 100, 1, [(("least", ()),)]
        self.seen = dict(ALONE)

    def within(self, limit: int) -> Configuration | None:
        fitting = [name for name in ALONE if self.seen[name] <= limit]
        return (((fitting[-1], ()),), 1, 1) if fitting else None

    def whole(self, found: Configuration) -> int:
        name = found[0][0][0]
        self.seen[name] = WHOLE[name]
        return WHOLE[name]

    def most(self, *found: Any) -> int:
        return self.seen[found[0][0][0]]

    peak = ledger_peak = most

    def more(self, found: Configuration) -> float:
        return 0.0


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Search", Search)


@pytest.mark.parametrize(
    ("budget", "name"), [(100, "free"), (99, "less"), (75, "less"), (74, "least"), (50, "least")]
)
def test_what_is_chosen_fits_as_a_whole(budget: int, name: str) -> None:
    found = choose(MODEL, "auto", budget)
    assert list(found.recomputed) == [name]
    assert found.peak == WHOLE[name] <= budget


def test_the_smallest_budget_is_that_of_the_whole() -> None:
    with pytest.raises(ConfigError, match=r"the smallest budget .* can meet is 50 bytes"):
        choose(MODEL, "auto", 49)
