"""LRPC.MEMORY.BUDGET is kept by every call, or the call is refused with what it would need."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
import torch
from torch import Tensor

import lrpc
from lrpc.errors import LrpcError
from tests.support.cases import slow_but
from tests.support.checkpoints import compiled, model_of, same
from tests.support.storage import Tracker

PROMISED = [(1, 4, False), (1, 4, True)]  # what programs here are compiled for
CALLS = [*PROMISED, (2, 1, False), (2, 2, True), (1, 9, False), (3, 5, True), (4, 9, False)]
NUMBERS = r"([\d,]+) bytes are needed at least, ([\d,]+) of them for results"


def images(name: str, count: int) -> Tensor:
    _, x = model_of(name)
    return torch.cat([x * (1 + i / 7) for i in range(count)])[:count]


def seeds_at(count: int) -> list[tuple[int]]:
    return [(k % 4,) for k in range(count)]


def peak_of(program: Any, x: Tensor, **options: Any) -> tuple[int, Any]:
    """The most bytes of a forward pass and of two equal calls on its state, and what they found:
    the second finds what the first added to the state."""
    with Tracker() as tracker:
        state = program.forward(x)
        program.relevance(state, "output", **options)
        found = program.relevance(state, "output", **options)
    return tracker.peak, found


def tried(program: Any, x: Tensor, **options: Any) -> tuple[int, Any, str]:
    """The same, and the line by which a call was refused."""
    kind = vars(type(program))["__init__"].__globals__["ProgramError"]  # the program's own
    try:
        return (*peak_of(program, x, **options), "")
    except kind as error:
        return 0, None, str(error)


@functools.cache
def least(name: str) -> int:
    """The smallest budget that a program can be compiled for."""
    model, x = model_of(name)
    with pytest.raises(LrpcError) as no:
        lrpc.compile(model, (x,), composite="attnlrp", seeds=4, checkpoint="auto", budget=10)
    return int(re.search(r"can meet is ([\d,]+) bytes", str(no.value))[1].replace(",", ""))  # type: ignore[index]


def budgeted(name: str, share: float) -> Any:
    """The program whose budget lies there between the least and that of all kept."""
    usual = compiled(name, "attnlrp")
    free = usual.manifest["memory"]["free_peak"]
    return compiled(name, "attnlrp", "auto", str(int(least(name) + share * (free - least(name)))))


BUDGETS = [
    *(("CNN", 0.5), ("small ViT", 0.0), ("deformable encoder", 0.0), ("deformable encoder", 0.5)),
    *(("CNN", 0.0), ("small ViT", 0.5)),
]


@pytest.mark.parametrize(("name", "share"), slow_but(BUDGETS[:4], BUDGETS))
def test_no_call_holds_more_than_the_budget(name: str, share: float) -> None:
    program, usual = budgeted(name, share), compiled(name, "attnlrp")
    budget, kept = program.manifest["memory"]["budget"], 0
    for batch, count, ledger in CALLS:
        x, options = images(name, batch), {"at": seeds_at(count), "ledger": ledger}
        peak, found, refused = tried(program, x, **options)
        if refused:
            needed, results = (int(n.replace(",", "")) for n in re.findall(NUMBERS, refused)[0])
            whole = usual.relevance(usual.forward(x), "output", at=options["at"])
            size = sum(t.nbytes for t in (*whole.inputs.values(), *whole.layers.values()))
            assert needed > budget
            assert size <= results <= size * 1.2 + 2e4
            assert (batch, count, ledger) not in PROMISED, refused
            continue
        assert peak <= budget, (batch, count, ledger)
        expected = usual.relevance(usual.forward(x), "output", at=options["at"], ledger=True)
        if ledger:
            same(found, expected)
        else:
            torch.testing.assert_close(found.input, expected.input, rtol=1e-9, atol=1e-11)
        kept += batch > 1
    assert kept  # of several images, and taken apart


@pytest.mark.parametrize(
    "options", [{"norm": "sum1"}, {"total": True}, {"read": ["input.images"]}, {"ledger": True}]
)
@pytest.mark.parametrize("given", [False, True], ids=["at", "seeds"])
def test_seeds_given_outright_and_normalised(options: dict[str, Any], given: bool) -> None:
    name = "small ViT"
    program = budgeted(name, 0.9)
    x = images(name, 1)
    at: dict[str, Any] = {"at": seeds_at(3)}
    if given:
        at = {"seeds": torch.rand(3, 1, 7).double()}
    peak, found = peak_of(program, x, **at, **options)
    assert peak <= program.manifest["memory"]["budget"]
    usual = compiled(name, "attnlrp")
    expected = usual.relevance(usual.forward(x), "output", **at, **options)
    torch.testing.assert_close(found.input, expected.input, rtol=1e-9, atol=1e-11)


def test_a_refused_call_says_what_fits() -> None:
    name = "small ViT"
    program = budgeted(name, 0.6)
    x = images(name, 3)
    with pytest.raises(Exception, match=NUMBERS) as no:
        program.relevance(program.forward(x), "output", at=seeds_at(200))
    assert "\n" not in str(no.value)
    assert str(no.value).startswith("relevance of output for 200 seeds and 3 images: ")
    fits = int(re.search(r"ask for at most (\d+) seeds? at a time", str(no.value))[1])  # type: ignore[index]
    assert program.at_once("output", 200, 3) == fits
    assert program.at_once("output", 2, 3) == 2
    budget = program.manifest["memory"]["budget"]
    assert peak_of(program, x, at=seeds_at(fits))[0] <= budget
    with pytest.raises(Exception, match=NUMBERS):
        program.relevance(program.forward(x), "output", at=seeds_at(fits + 1))
    with pytest.raises(Exception, match=r"forward of 99999 images: .* of them for outputs"):
        program.limits.images(99999)


def test_results_are_held_once() -> None:
    """Parts, of seeds and of images, are written into what is returned, and are gone before the
    next one is made."""
    name = "CNN"
    program, x = compiled(name, "attnlrp"), images(name, 6)
    with Tracker() as one:
        piece = program.relevance(program.forward(x[:1]), "output", at=seeds_at(12))
        del piece
    with Tracker() as tracker:
        state = program._in_pieces({"images": x}, 6, 1)
        found = program.relevance(state, "output", at=seeds_at(12), ledger=False)
    results = sum(t.nbytes for t in (state.outputs, found.input, *found.layers.values()))
    assert tracker.peak <= one.peak + results
    whole = program.relevance(program.forward(x), "output", at=seeds_at(12))
    torch.testing.assert_close(found.input, whole.input, rtol=1e-9, atol=1e-11)
