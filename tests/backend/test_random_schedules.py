"""Random schedules through the passes and into text: what they compute and hold stays the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from lrpc.backend.render.inlining import Inlined
from lrpc.backend.schedule.applications import applications
from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.in_place import in_place
from lrpc.backend.schedule.ir import Free, Schedule
from lrpc.backend.schedule.join import join
from lrpc.backend.schedule.outline import outline
from lrpc.backend.schedule.parser import parse_schedule
from lrpc.backend.schedule.printer import print_schedule
from lrpc.backend.schedule.tails import tails
from lrpc.backend.schedule.verify import verify
from tests.support.random_schedules import random_schedule
from tests.support.schedule_runs import Found, functions_of, reference
from tests.support.schedules import computed, put_back, runs
from tests.support.storage import Tracker

SEEDS = range(40)
PASSES: tuple[Callable[[Schedule], Schedule], ...] = (
    *(in_place, join, free, applications, outline, tails),
)


@cache
def stages(seed: int) -> dict[str, Schedule]:
    """A random schedule of two targets after each pass; short runs are shared as well."""
    found = {"build": random_schedule(seed, targets=2)}
    with patch(f"{tails.__module__}.FEWEST_BETWEEN", 8):
        for step in PASSES:
            found[step.__name__] = verify(step([*found.values()][-1]), step.__name__)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_passes_change_nothing_that_is_computed(seed: int) -> None:
    """Every stage verifies, prints and parses back; put back in place, what passes cut out is what
    was there."""
    found = stages(seed)
    for stage in found.values():
        assert parse_schedule(print_schedule(stage)) == stage
    for number in range(2):
        of = {name: stage.targets[number] for name, stage in found.items()}
        for ledger in (False, True):
            before = of["in_place"].with_ledger if ledger else of["in_place"].plain
            assert computed(runs(of["join"].plain.body, ledger)) == computed(before.body)
            cut = put_back(of["applications"].plain.body, found["applications"])
            both = [runs(body, ledger) for body in (of["free"].plain.body, cut)]
            kept = [[s for s in body if not isinstance(s, Free)] for body in both]
            assert kept[0] == kept[1]
            freed = [Counter(s for s in body if isinstance(s, Free)) for body in both]
            assert freed[0] == freed[1]
        shared = put_back(of["tails"].plain.body, found["tails"])
        assert shared == of["outline"].plain.body


def test_they_have_what_passes_are_for() -> None:
    """Rules as functions, ends and middles that targets share."""
    halves = Counter(f.half for seed in SEEDS for f in stages(seed)["tails"].functions)
    assert min(halves[half] for half in ("rule", "tail", "part")) > 10


def values(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    return y, torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)


def called(function: Any, seed: int, read: set[str], ledger: bool) -> Found:
    y, g = values(seed)
    rows: list[Tensor] | None = [] if ledger else None
    return function({}, {"": {"y": y}}, g, read, ledger=rows), rows or []


@pytest.mark.parametrize("seed", SEEDS)
def test_the_text_computes_what_the_schedule_says(seed: int) -> None:
    """Relevance at each place and each row of the ledger; of some places alone, too."""
    functions = functions_of(stages(seed)["tails"])
    flat, last = stages(seed)["build"], stages(seed)["tails"]
    for before, after in zip(flat.targets, last.targets, strict=True):
        for ledger in (False, True):
            main = before.with_ledger if ledger else before.plain
            out, rows = reference(main, *values(seed), ledger)
            for read in (set(out), {min(out)}):
                found = called(functions[after.plain.name], seed, read, ledger)
                torch.testing.assert_close(found[0], {name: out[name] for name in read})
                torch.testing.assert_close(found[1], rows)


class Timeline(Tracker):
    """Notes the bytes that are held at each operation that allocates."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if not (func.is_view or func._schema.is_mutable):
            self.steps.append((str(func), self.live))
        return out


@pytest.mark.parametrize("seed", SEEDS)
def test_a_value_without_a_name_is_freed_when_it_would_be_with_one(seed: int) -> None:
    """Or before anything else takes memory."""
    schedule = stages(seed)["tails"]
    short = functions_of(schedule)
    with patch.object(Inlined, "of", lambda function: Inlined(function.body)):
        long = functions_of(schedule)
    for target in schedule.targets:
        for ledger in (False, True):
            steps = []
            for functions in (short, long):
                with Timeline() as timeline:
                    called(functions[target.plain.name], seed, {"input"}, ledger)
                steps.append(timeline.steps)
            assert steps[0] == steps[1]
