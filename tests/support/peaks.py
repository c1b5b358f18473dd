"""The most memory that a program's calls hold: counted as they run, and beside its plan."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lrpc.backend.memory.run import Model
from tests.support.storage import Tracker


def measured(program: Any, inputs: Tensor, target: str, at: Any, ledger: bool) -> tuple[int, ...]:
    """The most bytes of `forward`, what it leaves, the most bytes of `relevance`."""
    with Tracker() as tracker:
        state = program.forward(inputs)
    peak, left = tracker.peak, tracker.live
    with Tracker() as tracker:
        program.relevance(state, target, at=at, ledger=ledger)
    return peak, left, tracker.peak


def peaks_as_predicted(
    program: Any, model: Model, x: Tensor, batch: int, seeds: int, ledger: bool
) -> None:
    """Hold the first target's calls, on so many of the first image, against `model`: forward to the
    byte, relevance but for the indices of `at`."""
    inputs = torch.cat([x[:1]] * batch)
    timeline = model.timeline(0, seeds, model.forward(batch), ledger)
    found = measured(program, inputs, "output", [(0,)] * seeds, ledger)
    assert timeline.forward_peak == found[0]
    assert timeline.relevance_peak == pytest.approx(found[2], rel=0.005), (batch, seeds)
