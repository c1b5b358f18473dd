"""Every stage of the schedules of whole programs verifies, prints and parses back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import lrpc
from lrpc.backend.schedule.ir import Recompute, Schedule
from lrpc.backend.schedule.parser import parse_schedule
from lrpc.backend.schedule.printer import print_schedule
from lrpc.backend.schedule.verify import verify
from lrpc.program.memory_of import open_model
from tests.support.checkpoints import compiled
from tests.support.sized_models import Levels

STAGES = [
    *("build", "blocks", "rows", "recompute", "in_place", "chunk"),
    *("join", "free", "outline", "tails"),  # rules stay in place where blocks are computed again
]


@pytest.mark.parametrize("name", ["small ViT", "deformable encoder"])
def test_every_stage_of_a_program_prints_and_parses_back(name: str) -> None:
    model = open_model(Path(compiled(name, "attnlrp", "block").directory))
    seen: dict[str, Schedule] = {}

    def noted(stage: str, found: Schedule) -> None:
        text = print_schedule(verify(found, stage))
        assert parse_schedule(text, stage) == found
        seen[stage] = found

    model.scheduler.schedule(model.recomputed, True, noted)
    assert list(seen) == STAGES
    assert any(isinstance(s, Recompute) for s in seen["recompute"].targets[0].plain.body)


def test_stages_of_a_program_of_any_size_print_and_parse_back() -> None:
    torch.manual_seed(0)
    x, dynamic = torch.randn(1, 3, 64, 96), {"x": {2: "H", 3: "W"}}
    program: Any = lrpc.compile(Levels(1).eval(), (x,), dynamic=dynamic, check=False)
    seen: list[Schedule] = []

    def noted(stage: str, found: Schedule) -> None:
        assert parse_schedule(print_schedule(verify(found, stage)), stage) == found
        seen.append(found)

    open_model(program.directory).scheduler.schedule({}, False, noted)
    sizes = seen[-1].sizes
    assert sizes is not None
    assert {v.name for v in sizes.results} < {v.name for v in seen[-1].forward.parameters}
    assert print_schedule(seen[-1]).startswith("schedule [H=64/32/2, W=96/32/2] {")


def test_a_function_of_one_target_is_that_of_the_whole() -> None:
    """What the planner makes of a single function runs as in the whole schedule."""
    model = open_model(Path(compiled("small ViT", "attnlrp", "block").directory))
    after = model.forward(1)
    alone = [model.timeline(0, 2, after, ledger) for ledger in (False, True)]
    assert model.schedule.functions  # from now on, all functions come from here
    after = model.forward(1)
    whole = [model.timeline(0, 2, after, ledger) for ledger in (False, True)]
    assert alone == whole
