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
    area, share, shared, logit, pixels = told(
        r"covers ([\d.]+) % of the image and holds ([\d.]+) % of the positive relevance. All"
        r" classes share (-[\d.]+) of the logit of ([\d.]+), what pixels contribute to this class"
        r" adds ([+\d.]+),"
    )
    assert 100 * one["area_share"] == pytest.approx(area, abs=0.05)
    assert 100 * one["positive_share"] == pytest.approx(share, abs=0.5)
    assert one["end"] == pytest.approx(pixels, abs=0.005)
    assert sinks["shared"] == pytest.approx(shared, abs=0.005)
    assert max(abs(sinks[name]) for name in sinks if name != "shared") < 0.1 * pixels
    assert one["value"] == pytest.approx(logit, abs=0.005)


#: What the default was before it had the rule `contrast`: the whole logit, another γ.
EARLIER = [
    {"role": "convolution", "rule": "gamma", "gamma": 0.25},
    {"role": "linear", "module": "*encoder.layers.*", "rule": "gamma", "gamma": 0.1},
]


@pytest.fixture(scope="module")
def earlier(programs: Programs) -> Path:
    return programs.directory(DIGITS, COMPOSITE="epsilon", RULES=EARLIER, DYNAMIC=False)


@pytest.mark.slow
def test_the_figures_of_all_detections(program: Any, earlier: Path) -> None:
    rows = rows_of(program)
    count, scenes, middle, low, high = told(
        r"all (\d+) detections in the (\d+) scenes of `tests/data/digits_scenes`, the digit's mask"
        r" holds (\d+) % of the positive relevance in the median, and from (\d+) % to (\d+) %"
    )
    shares = [100 * row["positive_share"] for row in rows]
    assert len(rows) == count
    assert len(list(SCENES.glob("[0-9][0-9].png"))) == scenes
    assert (median(shares), min(shares), max(shares)) == pytest.approx((middle, low, high), abs=0.5)
    (biased,) = told(r"the median detection has (-[\d.]+) times as much in biases")
    whole = [dict(row["sinks"])["bias"] / row["start"] for row in rows_of(lrpc.load(earlier))]
    assert median(whole) == pytest.approx(biased, abs=0.005)
    rest, image = told(
        r"of what sets the class apart, ([\d.]+) ends in biases and ([\d.]+) reaches the image"
    )
    apart = [row["start"] - dict(row["sinks"])["shared"] for row in rows]
    biases = [dict(row["sinks"])["bias"] / own for row, own in zip(rows, apart, strict=True)]
    ends = [row["end"] / own for row, own in zip(rows, apart, strict=True)]
    assert median(biases) == pytest.approx(rest, abs=0.0005)
    assert median(ends) == pytest.approx(image, abs=0.005)


def rows_of(program: Any) -> list[Any]:
    return [one.row for one in program.explain(SCENES, "class_logit", top=100, batch_size=8)]


@pytest.mark.slow
def test_the_figures_of_class_sensitivity(programs: Programs, earlier: Path) -> None:
    now, before = told(
        r"the query's next three classes is ([\d.]+); with the whole logit and the γ of earlier"
        r" versions it was ([\d.]+)\. "
    )
    default = programs.directory(DIGITS, COMPOSITE="maskdino", DYNAMIC=False)
    for directory, wanted in ((default, now), (earlier, before)):
        model = load_models(directory, "cpu")[0]
        scenes = read_scenes(SCENES, None, (), count=10, boxes=False)
        pictures = find(model, scenes, Settings()).pictures
        found = asked(Relevance(model, 8), pictures)
        alike = [one.sensitivity().class_correlation for image in found for one in image]
        mean = fmean(value for value in alike if value is not None)
        assert mean == pytest.approx(wanted, abs=0.005)
