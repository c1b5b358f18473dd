"""Peaks as expressions: what they give is what is simulated, at every size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import lrpc
from lrpc.backend.memory.expressions import (
    Linear,
    Peak,
    Simulated,
    Square,
    peak_of,
    peaks,
    text,
)
from lrpc.backend.memory.run import Model
from lrpc.cli import main
from lrpc.ir.sizes import Size
from lrpc.program.memory_of import open_model
from tests.support import sized_models as models
from tests.support.programs import DIGITS, Programs

STEPS = [(1, 1), (1, 6), (7, 1), (2, 3), (3, 2), (4, 4), (5, 8), (8, 5), (9, 2), (3, 14), (16, 21),
         (25, 42)]  # fmt: skip
CALLS = {"SegFormer": (2, 3), "Detr": (1, 1), "DeformableDetr": (1, 2), "Swin": (2, 1)}


def compare(
    model: Model, found: Peak | None, target: int, batch: int, seeds: int, least: int = 1
) -> None:
    assert found is not None
    for steps in STEPS:
        steps = tuple(max(n, least) for n in steps)
        sizes = {s.name: s.step * n for s, n in zip(model.graph.sizes, steps, strict=True)}
        here = replace(model, sizes=sizes)
        wanted = here.timeline(target, seeds, here.forward(batch)).peak
        assert found.at(sizes) == wanted
        assert max(eval(text(row), dict(sizes)) for row in found.rows) == wanted


@pytest.mark.parametrize("name", CALLS)
def test_at_twelve_sizes(name: str, tmp_path: Path) -> None:
    """SegFormer and DETR attend to all pixels: their memory grows with the square of the area."""
    torch.manual_seed(0)
    how: dict[str, Any] = {"dynamic": {"x": {2: "H", 3: "W"}}, "check": False}
    lrpc.compile(getattr(models, name)().eval(), (torch.randn(1, 3, 64, 96),), **how).save(
        tmp_path / "program"
    )
    model = open_model(tmp_path / "program", [])
    found = peaks(model, [len(model.codes) - 1], *CALLS[name])
    compare(model, found[0], len(model.codes) - 1, *CALLS[name])


def test_digits(programs: Programs, capsys: pytest.CaptureFixture[str]) -> None:
    """And what `lrpc plan` prints, on 80 columns."""
    directory = programs.directory(DIGITS)
    model = open_model(directory, [])
    targets = range(len(model.codes))
    found = peaks(model, targets, 1, 1)
    compare(model, found[0], 0, 1, 1, least=2)
    capsys.readouterr()
    assert main(["plan", str(directory)]) == 0
    said = capsys.readouterr().out.splitlines()
    title = "peak in bytes at any H, W in steps of 32: the largest of its rows"
    assert title in said
    assert all(len(line) <= 80 for line in said)
    words = " ".join(" ".join(said).split())
    assert all(peak is not None and text(row) in words for peak in found for row in peak.rows)
    assert main(["plan", str(directory), "--size", "H=96"]) == 0
    assert title not in capsys.readouterr().out


class Given:
    """Live bytes that are given as functions of the steps in H and W."""

    def __init__(
        self, live: Sequence[Callable[[int, int], int]], least: int, sizes: Sequence[Size]
    ) -> None:
        self.live, self.least, self.sizes = live, least, sizes

    def at(self, sizes: Mapping[str, int]) -> list[list[int]] | None:
        h, w = sizes["H"] // 32, sizes["W"] // 32
        return None if min(h, w) < self.least else [[one(h, w) for one in self.live]]


SIZES = (Size("H", 32, 64), Size("W", 32, 96))


def given(
    form: Linear | Square,
    *live: Callable[[int, int], int],
    least: int = 1,
    sizes: Sequence[Size] = SIZES,
) -> Peak | None:
    return peak_of(cast("Simulated", Given(live, least, sizes)), 0, form)


def test_what_is_no_polynomial() -> None:
    """It is refused where it may be the peak, and left out where it is not."""
    found = given(Linear(), lambda h, w: 2048 * h * w, lambda h, w: 2048 * min(h * w, h + w) // 2)
    assert found is not None
    assert [text(row) for row in found.rows] == ["2*H*W"]
    for form in (Linear(), Square()):
        assert given(form, lambda h, w: 1024 * h * w, lambda h, w: 3000 * max(h, w)) is None


def test_work_in_segments() -> None:
    """What an operation holds for itself grows up to a segment's bytes, and then no further."""

    def live(h: int, w: int) -> int:
        return 1024 * h * w + min(2048 * h * w, 40000)

    sizes = (Size("H", 32, 320), Size("W", 32, 480))
    for least, wanted in ((1, "min(H*W + 40000, 3*H*W)"), (2, "min(H*W + 40000, 3*H*W)")):
        found = given(Linear(), live, least=least, sizes=sizes)
        assert found is not None
        assert [text(row) for row in found.rows] == [wanted]
    assert given(Linear(), live, least=4, sizes=sizes) is None  # where it turns is in the grid


def test_the_largest_of_several_rows() -> None:
    found = given(
        Square(),
        lambda h, w: 7 * h * w + 5,
        lambda h, w: h * w + 500,
        lambda h, w: h * w + 400,  # nowhere the largest
        lambda h, w: h * h * w - 900 * w,  # of tall images alone
    )
    assert found is not None
    assert [text(row) for row in found.rows] == [
        "H*H*W/32768 - 225*W/8",
        "7*H*W/1024 + 5",
        "H*W/1024 + 500",
    ]
