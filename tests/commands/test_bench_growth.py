"""Growth: the fit, the measurement on a tiny encoder, its tables, its picture."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrpc.commands.bench.tables import to_markdown
from lrpc.errors import ProgramError
from tools.bench import growth as module
from tools.bench.encoder import Layout
from tools.bench.growth import AXES, QUICK, RANGES, Growth, Range, halved
from tools.bench.growth_fit import fit
from tools.bench.growth_plot import digest, write_plot
from tools.bench.growth_tables import growth_sheets

TINY = Range(
    Layout(halved(4), layers=1, width=32, ffn=32, heads=2),
    sides=(4, 8), batches=(1, 2), seeds=(1, 3), layers=(1, 2),
)  # fmt: skip


def test_the_fit_finds_a_power_law() -> None:
    xs = [3.0, 10.0, 40.0, 90.0]
    found = fit(xs, [5 * x**1.25 for x in xs])
    assert found is not None
    assert found.exponent == pytest.approx(1.25)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert (found.first, found.last) == (3.0, 90.0)
    two = fit([1, 10], [2, 2000])
    assert two is not None
    assert (round(two.exponent, 12), two.error) == (3.0, None)
    assert fit([4], [1]) is None
    assert fit([4, 4], [1, 2]) is None


def test_the_error_of_a_fit() -> None:
    """Against the formula written out: residuals alternate in sign around the line."""
    xs = [1.0, 2.0, 4.0, 8.0]
    bumps = [0.1, -0.1, -0.1, 0.1]
    found = fit(xs, [x * math.exp(e) for x, e in zip(xs, bumps, strict=True)])
    assert found is not None
    assert found.exponent == pytest.approx(1.0)
    u = [math.log(x) for x in xs]
    spread = sum((a - sum(u) / 4) ** 2 for a in u)
    assert found.error == pytest.approx(math.sqrt(4 * 0.01 / 2 / spread))


@pytest.fixture(scope="module")
def grown() -> dict[str, Any]:
    return Growth("cpu", TINY, limit=600, repeats=1, tell=lambda _: None).run()


def test_every_point_is_measured_and_predicted(grown: dict[str, Any]) -> None:
    assert set(grown) == {"machine", "settings", "axes", "fits"}
    assert [[row["x"] for row in grown["axes"][axis]] for axis in AXES] == [
        [21, 84], [1, 2], [1, 3], [1, 2]
    ]  # fmt: skip
    for axis in AXES:
        for row in grown["axes"][axis]:
            assert row["peak"] == pytest.approx(row["predicted"], rel=0.03)
            assert row["peak"] == pytest.approx(row["predicted"], rel=0.25)
            assert row["forward"]["median"] + row["relevance"]["median"] > 0
    tokens = grown["fits"]["tokens"]
    assert tokens["predicted"]["exponent"] == pytest.approx(1, abs=0.05)
    assert (tokens["time"]["from"], tokens["time"]["to"]) == (21, 84)


def test_points_beyond_the_limit_are_predicted_alone() -> None:
    short = replace(TINY, sides=(4,), batches=(1, 2), seeds=(1,), layers=(1,))
    found = Growth("cpu", short, limit=0.0, repeats=1, tell=lambda _: None).run()
    assert [row["time"] is None for row in found["axes"]["batch"]] == [False, True]
    assert found["axes"]["batch"][1]["predicted"] > 0
    assert found["fits"]["batch"]["time"] is None
    assert found["fits"]["batch"]["predicted"] is not None
    sheet = growth_sheets(found)[2]
    assert sheet.rows[1][:4] == ["2", "not measured", "not measured", "not measured"]


def test_points_that_do_not_fit_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(TINY, sides=(4,), batches=(1,), seeds=(1,), layers=(1,))
    monkeypatch.setattr(module, "predicted", lambda model, point: 10**15)
    found = Growth("cpu", short, limit=600, repeats=1, tell=lambda _: None).run()
    (row,) = found["axes"]["tokens"]
    assert (row["time"], row["predicted"]) == (None, 10**15)
    monkeypatch.setattr(module, "free", lambda device: 1000)  # nor are they compiled
    found = Growth("cpu", short, limit=600, repeats=1, tell=lambda _: None).run()
    (row,) = found["axes"]["tokens"]
    assert (row["time"], row["predicted"]) == (None, None)
    assert growth_sheets(found)[1].rows[0][-2:] == ["not compiled", ""]
    assert found["fits"]["tokens"]["predicted"] is None


def test_a_wrong_program_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "detached", lambda model, composite: model)  # the plain gradient
    with pytest.raises(ProgramError, match=r"relevance differs by .* not timed"):
        Growth("cpu", TINY, limit=600, repeats=1, tell=lambda _: None).run()


def test_tables(grown: dict[str, Any]) -> None:
    exponents, tokens, *rest = growth_sheets(grown)
    assert len(rest) == 3
    assert [row[0] for row in exponents.rows] == ["tokens", "images", "seeds", "layers"]
    assert exponents.rows[0][1].endswith("(21–84)")
    assert tokens.title == "growth with tokens; 1 image, 1 seed, 1 layer"
    assert "| 84 |" in to_markdown(tokens)


def test_the_picture_carries_its_data(grown: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "growth.svg"
    cases = {"one": grown, "other": grown}
    write_plot(path, cases)
    once = path.read_bytes()
    root = ET.fromstring(once)
    text = [e.text or "" for e in root.iter()]
    assert any(digest(cases) in t for t in text)
    assert {"tokens", "images", "seeds", "layers"} <= set(text)
    assert any(t.startswith("one, exponent ") for t in text)
    write_plot(path, cases)
    assert path.read_bytes() == once
    assert digest({"one": grown}) != digest(cases)


def test_ranges_are_those_promised() -> None:
    for span in RANGES.values():
        tokens = [point.layout.tokens for point in span.points("tokens")]
        assert min(tokens) <= 3_100 < 52_000 <= max(tokens)
        assert [p.batch for p in span.points("batch")][-1] == 32
        assert [p.seeds for p in span.points("seeds")][-1] == 300
        assert [p.layout.layers for p in span.points("layers")] == [1, 2, 3, 6, 9, 12]
    assert RANGES["cuda"].base.tokens == 13_125
    assert QUICK.base.tokens < 100
