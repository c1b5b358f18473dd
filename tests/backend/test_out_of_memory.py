"""Programs that run out of memory go on with fewer seeds, then with fewer images, and say so."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.checkpoints import AT, both, compiled, model_of, same
from tests.support.storage import Tracker


class Short:
    """Runs a function of a program as long as memory holds: up to so many images and seeds."""

    def __init__(self, function: Any, images: int, seeds: int = 99) -> None:
        self.function, self.images, self.seeds = function, images, seeds
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, w: Any, saved: Any, first: Tensor, *rest: Any) -> Any:
        seeds, images = first.shape[:2] if rest else (0, first.shape[0])
        self.calls.append((seeds, images))
        if images > self.images or seeds > self.seeds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")
        return self.function(w, saved, first, *rest)


def short(images: int, seeds: int = 99, forward: int = 99) -> tuple[Any, Short, Short]:
    """The program of the small ViT where relevance holds so many images and seeds."""
    program: Any = compiled("small ViT", "attnlrp")
    other = type(program)(program.interface, program.directory, "cpu")
    goal = other.interface.targets["output"]
    booked = Short(goal.run, images, seeds)
    first = Short(other.interface.forward, forward)
    targets = {"output": replace(goal, run=booked)}
    other.interface = replace(other.interface, targets=targets, forward=first)
    return other, booked, first


def four(x: Tensor) -> Tensor:
    return torch.cat([x, x.flip(0) * 0.5])


@contextlib.contextmanager
def warned(*expected: str) -> Iterator[None]:
    """What is done is exactly this, said in this order."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    assert [str(w.message) for w in found] == list(expected)


def test_out_of_memory_takes_fewer_seeds() -> None:
    _, x = model_of("small ViT")
    expected = both(compiled("small ViT", "attnlrp"), four(x))
    program, booked, _ = short(99, seeds=1)
    with warned(
        "out of memory: relevance of output goes on with 2 seeds at a time",
        "out of memory: relevance of output goes on with 1 seeds at a time",
    ):
        found = both(program, four(x))
    assert [seeds for seeds, _ in booked.calls] == [4, 2, 1, 1, 1, 1]
    same(found, expected)


def test_then_fewer_images() -> None:
    _, x = model_of("small ViT")
    at = torch.tensor([[[0], [1], [2], [3]], [[3], [2], [1], [0]]])
    whole = compiled("small ViT", "attnlrp")
    expected = whole.relevance(whole.forward(four(x)), "output", at=at, ledger=True)
    program, booked, _ = short(images=1)
    state = program.forward(four(x))
    one = "out of memory: relevance of output goes on with 1 seeds at a time"
    fewer = "out of memory: relevance of output, one seed at a time, goes on with"
    halves = [one, f"{fewer} 1 of 2 images at a time"] * 2
    with warned(one, f"{fewer} 2 of 4 images at a time", *halves):
        found = program.relevance(state, "output", at=at, ledger=True)
    assert not state.saved
    assert {images for _, images in booked.calls} == {4, 2, 1}
    same(found, expected)
    seeds = torch.randn(3, 4, 7).double()
    with warned(*halves):
        found = program.relevance(state, "output", seeds=seeds, ledger=True)
    same(found, whole.relevance(whole.forward(four(x)), "output", seeds=seeds, ledger=True))


def test_a_forward_pass_out_of_memory_takes_fewer_images() -> None:
    _, x = model_of("small ViT")
    whole = compiled("small ViT", "attnlrp")
    program, _, first = short(99, forward=1)
    fewer = "out of memory: forward, goes on with"
    halves = [f"{fewer} 1 of 2 images at a time"] * 2
    with warned(f"{fewer} 2 of 4 images at a time", *halves):
        state = program.forward(four(x))
    torch.testing.assert_close(state.outputs, whole.forward(four(x)).outputs)
    assert state.batch == 4
    with warned(*halves):
        found = program.relevance(state, "output", at=AT, ledger=True)
    same(found, both(whole, four(x)))
    assert max(images for _, images in first.calls) == 4


def test_one_image_that_does_not_fit_is_refused_in_one_line() -> None:
    _, x = model_of("small ViT")
    program, _, _ = short(images=0)
    state = program.forward(x[:1])
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(Exception, match="one seed at a time, one image; compile with") as no,
    ):
        program.relevance(state, "output", at=AT)
    assert type(no.value).__name__ == "ProgramError"
    assert "\n" not in str(no.value)


def test_a_budget_holds_for_many_images() -> None:
    """More images leave room for fewer seeds, and then for fewer images."""
    _, x = model_of("deformable encoder")
    program = compiled("deformable encoder", "attnlrp", "auto", "60%")
    budget = program.manifest["memory"]["budget"]
    many = torch.cat([x * (1 + i / 7) for i in range(5)])[:7]
    with Tracker() as tracker:
        state = program.forward(many)
        found = program.relevance(state, "output", at=AT[:1], read=["input.x"])
    results = sum(t.nbytes for t in (state.outputs, found.input))
    assert tracker.peak <= budget + 2 * results  # those of all images together
    usual = compiled("deformable encoder", "attnlrp")
    expected = usual.relevance(usual.forward(many), "output", at=AT[:1], read=["input.x"])
    torch.testing.assert_close(found.input, expected.input, rtol=1e-9, atol=1e-12)
