"""The figures in the README are those of the example program today."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest

import lrpc
from lrpc.commands.evaluate.methods import Relevance
from lrpc.commands.evaluate.model import load_models
from lrpc.commands.evaluate.objects import find
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.sensitivity import asked
from lrpc.commands.evaluate.settings import Settings
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs

ROOT = Path(__file__).parents[1]
README = " ".join((ROOT / "README.md").read_text("utf-8").split()).replace("−", "-")
SCENES = ROOT / "tests/data/digits_scenes"


def told(pattern: str) -> list[float]:
    """The numbers that the README has where a pattern matches, once and no more."""
    found = re.findall(pattern, README)
    assert len(found) == 1, f"the README has {len(found)} of {pattern!r}"
    numbers = found[0] if isinstance(found[0], tuple) else found
    return [float(number) for number in numbers]


@pytest.fixture(scope="module")
def program(programs: Programs) -> Any:
    return lrpc.load(programs.directory(DIGITS, COMPOSITE="maskdino", DYNAMIC=False))


def test_the_figures_of_the_picture(program: Any) -> None:
    one = program.explain(EXAMPLE / "scenes" / "02.png", top=1)[0].row
    sinks = dict(one["sinks"])
    area, share, pixels, biases, logit = told(
        r"covers ([\d.]+) % of the image and holds ([\d.]+) % of the positive relevance. Pixels"
        r" contribute ([+\d.]+) and biases (-[\d.]+) to the logit of ([\d.]+),"
    )
    assert 100 * one["area_share"] == pytest.approx(area, abs=0.05)
    assert 100 * one["positive_share"] == pytest.approx(share, abs=0.5)
    assert one["end"] == pytest.approx(pixels, abs=0.005)
    assert sinks["bias"] == pytest.approx(biases, abs=0.005)
    assert one["value"] == pytest.approx(logit, abs=0.005)


@pytest.mark.slow
def test_the_figures_of_all_detections(program: Any) -> None:
    found = program.explain(SCENES, ["class_logit", "class_logit:-mean"], top=100, batch_size=8)
    plain = [one.row for one in found if one.row["against"] is None]
    against = [one.row for one in found if one.row["against"] is not None]
    count, scenes, middle, low, high = told(
        r"all (\d+) detections in the (\d+) scenes of `tests/data/digits_scenes`, the digit's mask"
        r" holds (\d+) % of the positive relevance in the median, and from (\d+) % to (\d+) %"
    )
    shares = [100 * row["positive_share"] for row in plain]
    assert (len(plain), len(against)) == (count, count)
    assert len(list(SCENES.glob("[0-9][0-9].png"))) == scenes
    assert (median(shares), min(shares), max(shares)) == pytest.approx((middle, low, high), abs=0.5)
    (within,) = told(r"and a median of (\d+) % inside the mask")
    assert median(100 * row["positive_share"] for row in against) == pytest.approx(within, abs=0.5)
    (biased,) = told(r"the median detection has (-[\d.]+) times its logit in biases")
    assert median(map(in_biases, plain)) == pytest.approx(biased, abs=0.005)
    rest, image = told(
        r"these cancel: ([\d.]+) of the start ends in biases, and the image gets ([\d.]+) of it"
    )
    assert median(map(in_biases, against)) == pytest.approx(rest, abs=0.0005)
    ends = [row["end"] / row["start"] for row in against]
    assert median(ends) == pytest.approx(image, abs=0.005)


def in_biases(row: Any) -> float:
    return float(dict(row["sinks"])["bias"] / row["start"])


@pytest.mark.slow
def test_the_figures_of_class_sensitivity(programs: Programs) -> None:
    directory = programs.directory(DIGITS, COMPOSITE="maskdino", DYNAMIC=False)
    model = load_models(directory, "cpu")[0]
    scenes = read_scenes(SCENES, None, (), count=10, boxes=False)
    pictures = find(model, scenes, Settings()).pictures
    plain, against = told(
        r"the query's next three classes is ([\d.]+)\..* and has ([\d.]+) there, and a median"
    )
    for word, wanted in (("", plain), ("mean", against)):
        found = asked(Relevance(model, 8, 0, word), pictures)
        alike = [one.sensitivity().class_correlation for image in found for one in image]
        mean = fmean(value for value in alike if value is not None)
        assert mean == pytest.approx(wanted, abs=0.005), word or "logit"
