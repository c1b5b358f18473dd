"""`plot` and `save` of what a program's `relevance` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lrpc
from lrpc.runtime.loading import ProgramError
from lrpc.runtime.results import Relevance


@pytest.fixture(scope="module")
def found() -> Any:
    """Relevance of a small network at images [2, 3, 6, 8], of two seeds; x too, for reference."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(192, 3),
    )
    x = torch.randn(2, 3, 6, 8)
    program = lrpc.compile(model, (x,), composite="epsilon")
    return program.relevance(program.forward(x), "output", at=[0, 2]), x


def test_a_plot_shows_the_sum_over_channels(found: Any) -> None:
    relevance, x = found
    axes = relevance.plot(x[1], seed=1, item=1, cmap="PuOr", title="class 2")
    grey, shown = axes.get_images()
    assert np.allclose(shown.get_array(), relevance.input[1, 1].double().sum(0))
    assert np.allclose(grey.get_array(), x[1].double().mean(0))
    assert shown.get_cmap().name == "PuOr"
    assert shown.norm.vmin == -shown.norm.vmax
    assert axes.get_title() == "class 2"
    assert axes is relevance.plot(axes=axes)


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_a_figure_is_saved(found: Any, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    found[0].save(path, found[1][0], width=3, dpi=100, title="a title")
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert path.read_bytes().startswith(start)
    if ending == "png":
        with Image.open(path) as picture:
            assert picture.width == 300
    if ending == "svg":
        assert ">a title</text>" in path.read_text()
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_drawn_is_said(found: Any, tmp_path: Path) -> None:
    relevance, x = found
    with pytest.raises(lrpc.ProgramError, match=r"a\.bmp: figures are png, pdf"):
        relevance.save(tmp_path / "a.bmp")
    with pytest.raises(lrpc.ProgramError, match=r"seed must lie in 0\.\.1, got 2"):
        relevance.plot(seed=2)
    with pytest.raises(lrpc.ProgramError, match="relevance at 'nowhere' was not read; there is:"):
        relevance.plot(place="nowhere")
    with pytest.raises(lrpc.ProgramError, match=r"image is one image .* got \[2, 3, 6, 8\]"):
        relevance.plot(x)
    with pytest.raises(lrpc.ProgramError, match="no colour map 'redblue'"):
        relevance.plot(cmap="redblue")
    with pytest.raises(ProgramError, match=r"tokens: a figure is of maps .* not of \[1, 2, 5\]"):
        Relevance({"tokens": torch.zeros(1, 2, 5)}, {}, None).plot(place="tokens")
    with pytest.raises(lrpc.ProgramError, match=r"cannot be written \(No such file"):
        relevance.save(tmp_path / "missing" / "a.png")


def test_maps_of_nothing_are_white(found: Any) -> None:
    axes = Relevance({"x": torch.zeros(1, 1, 3, 4, 4)}, {}, None).plot()
    assert (axes.get_images()[0].norm.vmin, axes.get_images()[0].norm.vmax) == (-1, 1)
