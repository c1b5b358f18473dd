"""The memory of whole programs, predicted from their graphs, against storages counted while they
run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import lrpc
from lrpc.backend.emission import EMISSION, Emission
from lrpc.backend.memory.plan import kept_for, kept_without_ledger, target_plans
from lrpc.backend.memory.run import Model
from lrpc.errors import LrpcError
from lrpc.program.loading import load_program
from lrpc.program.memory_of import open_model
from lrpc.runtime.limits import most_live
from tests.support.networks import small
from tests.support.peaks import measured
from tests.support.programs import DIGITS, Programs, noise

SIZES = [(1, 1), (2, 1), (1, 2), (3, 2), (2, 5), (3, 5), (2, 11)]  # 11 seeds take two passes


@functools.cache
def compiled(name: str, composite: str) -> tuple[Any, Model, Tensor]:
    model, x = small(name)
    program = lrpc.compile(model, (x,), composite=composite)
    return program, open_model(Path(program.directory)), x


@pytest.mark.parametrize("ledger", [False, True], ids=["plain", "ledger"])
@pytest.mark.parametrize("composite", ["attnlrp", "gamma", "epsilon_alpha2_beta1"])
@pytest.mark.parametrize("name", ["tiny transformer", "CNN", "small ViT"])
def test_small_programs_to_the_byte(name: str, composite: str, ledger: bool) -> None:
    program, model, x = compiled(name, composite)
    for batch, seeds in SIZES:
        inputs = x[:1].repeat(batch, 1, 1, 1)
        timeline = model.timeline(0, seeds, model.forward(batch), ledger)
        kept = sum(s.size for s in timeline.storages if s.start < timeline.turn < s.end)
        told = (timeline.forward_peak, kept, timeline.relevance_peak)
        found = measured(program, inputs, "output", [(0,)] * seeds, ledger)
        assert told[:2] == found[:2], (batch, seeds)
        assert told[2] == pytest.approx(found[2], rel=0.005), (batch, seeds)  # indices of `at`


def allocated(call: Callable[[], Any], trace: Path) -> tuple[Any, int]:
    """What `call` gives, and the most bytes it held by torch's profile of its allocator."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = call()
    profiler.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["name"] == "[memory]"]
    events.sort(key=lambda event: event["ts"])
    return result, max(accumulate(event["args"]["Bytes"] for event in events))


@pytest.mark.parametrize("name", ["deformable encoder", "three blocks"])
def test_the_allocator_agrees(name: str, tmp_path: Path) -> None:
    """What kernels allocate out of the dispatcher's sight counts here as well: without
    convolutions, whose CPU kernels copy their operands to formats of their own, that is nothing."""
    program, model, x = compiled(name, "attnlrp")
    program.forward(x)
    timeline = model.timeline(0, 3, model.forward(2))
    state, peak = allocated(lambda: program.forward(x), tmp_path / "forward.json")
    assert timeline.forward_peak == pytest.approx(peak, rel=0.03)
    at = [(0,) * len(program.interface.targets["output"].index_axes)] * 3
    _, peak = allocated(lambda: program.relevance(state, "output", at=at), tmp_path / "back.json")
    assert timeline.relevance_peak == pytest.approx(peak, rel=0.03)


@pytest.mark.parametrize(("batch", "seeds"), [(1, 1), (2, 2)])
def test_the_digits_program(programs: Programs, batch: int, seeds: int) -> None:
    """With what its samplings keep in the state, made by the forward pass and by the first call."""
    directory = programs.directory(DIGITS, COMPOSITE="attnlrp", EPSILON=1e-6)
    model = open_model(directory)
    images = noise(batch, 160, 160).float()
    for i in (0, 3):  # a class logit, a feature of the encoder
        code, program = model.codes[i], load_program(directory, "cpu")  # has seen no size yet
        at = [(0,) * len(code.index_axes)] * seeds
        found = measured(program, images, code.name, at, False)
        told = model.timeline(i, seeds, model.forward(batch))
        assert told.forward_peak == found[0]
        assert told.relevance_peak == pytest.approx(found[2], rel=0.005), code.name


def test_live_bytes_by_images_and_seeds() -> None:
    """The rows of a plan, fitted at 2 and 3, hold for other numbers."""
    for name in ("CNN", "small ViT"):
        _, model, _ = compiled(name, "attnlrp")
        (plan,) = target_plans(model)
        for batch, seeds in [(2, 2), (5, 2), (2, 7), (6, 5)]:
            timeline = model.timeline(0, seeds, model.forward(batch))
            assert most_live(plan.live, batch, seeds) == max(timeline.live)
        assert len(plan.live) < 20


def test_rows_are_of_one_pass() -> None:
    """A program that takes one seed at a time has the same rows."""
    _, model, _ = compiled("CNN", "attnlrp")
    (plan,), (single,) = target_plans(model), target_plans(replace(model, chunk=1))
    assert single == plan


def test_a_plan_adds_up() -> None:
    _, model, _ = compiled("small ViT", "attnlrp")
    (plan,) = target_plans(model)
    after = model.forward(1)
    saved = kept_for(model, 0, after)
    assert sum(plan.saved.values()) == sum(s.size for s in saved)
    state = model.timeline(0, 1, after).state
    assert kept_without_ledger(model, after) == sum(plan.saved.values()) <= state
    assert [name for name in plan.saved if name.startswith("blocks.")] == [
        "blocks.0", "blocks.1", "blocks.2",
    ]  # fmt: skip
    assert plan.saved["blocks.0"] == plan.saved["blocks.1"] == plan.saved["blocks.2"]
    assert plan.peak == max(model.timeline(0, 1, after).live)


def test_buffers_live_within_the_program() -> None:
    _, model, _ = compiled("CNN", "attnlrp")
    timeline = model.timeline(0, 3, model.forward(2))
    assert all(0 <= s.start < s.end <= len(timeline.modules) for s in timeline.storages)
    steps = range(len(timeline.modules))
    live = [sum(s.size for s in timeline.storages if s.start <= i < s.end) for i in steps]
    assert (live, max(live)) == (timeline.live, timeline.peak)


def test_what_does_not_run_for_one_image_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch's own group_norm wants several values to a channel; a program takes any number of
    images."""
    own = Emission("F.group_norm({0}, {groups}, {weight}, {bias}, {eps})")
    monkeypatch.setitem(EMISSION, "group_norm", own)
    parts = (nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.GroupNorm(8, 8), nn.Flatten())
    model = nn.Sequential(*parts, nn.Linear(8, 3))
    with pytest.raises(LrpcError, match=r"^group_norm at 2.* does not run for 1 image: ") as no:
        lrpc.compile(model, (torch.rand(2, 3, 4, 4),))
    assert "\n" not in str(no.value)
