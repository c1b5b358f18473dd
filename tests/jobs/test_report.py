"""`lrpc report`: pages of a job's results, as files and in a browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lrpc
from lrpc.cli import main
from lrpc.commands.session.facts import RANDOM_WARNING
from lrpc.results.crops import EDGE, crop_of
from lrpc.results.groups import group, spectral
from tests.support.run_fakes import write_image, write_program


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 16 images, one of them broken, another without an object."""
    tmp = tmp_path_factory.mktemp("report")
    write_program(tmp / "DIR")
    for n in range(14):
        write_image(tmp / "in" / f"{n:02}.png", 250 if n % 2 else 150)
    write_image(tmp / "in" / "a <b> & 'c'.png", 20)
    (tmp / "in" / "bad.png").write_bytes(b"no image")
    call = ["run", str(tmp / "DIR"), "--data", str(tmp / "in"), "-o", str(tmp / "out")]
    assert main([*call, "--device", "cpu"]) == 1
    assert main(["report", str(tmp / "out"), "--title", "Tests <1>", "--processes", "1"]) == 0
    return tmp / "out" / "report"


def rows_of(site: Path) -> list[list[Any]]:
    found: list[list[Any]] = []
    for path in sorted((site / "data").iterdir()):
        found += json.loads(re.sub(r"^lrpcRows\.push\(\.\.\.|\);\n$", "", path.read_text()))
    return found


def test_every_target_has_its_page_and_pictures(site: Path) -> None:
    results = lrpc.open(site.parent)
    rows = rows_of(site)
    assert len(rows) == len(results) == 21
    for n, row in enumerate(rows):
        assert row[:2] == [n, results[n].row["name"]]
        page = (site / "targets" / f"{n:06}.html").read_text()
        assert results[n].row["slug"] in page
        for name in re.findall(r'(?:src|href)="([^"#]+)"', page):
            assert (site / "targets" / name).exists(), name
        with Image.open(site / "maps" / f"{n:06}.webp") as heat:
            assert heat.mode == "RGBA"
        assert (site / "thumbs" / f"{n:06}.webp").exists()


def test_names_are_text_and_nothing_else(site: Path) -> None:
    for page in ("index.html", "failures.html", "about.html", "classes.html"):
        text = (site / page).read_text()
        assert "Tests &lt;1&gt;" in text
        assert "<b>" not in text
        assert "http" not in re.sub(r"https?://www.w3.org\S*", "", text)
    assert "bad.png: not an image that Pillow can read" in (site / "failures.html").read_text()


def test_a_report_takes_the_place_of_a_report_alone(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    assert main(["report", str(site.parent), "-o", str(tmp_path / "mine")]) == 2
    assert "is there and is no report" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no results" in " ".join(capsys.readouterr().err.split())


def test_crops_put_every_box_at_the_same_place() -> None:
    about = {"seen": None, "height": 200, "width": 300}
    sums = []
    for x, y, size in ((60, 40, 60), (0, 100, 90)):
        values = np.zeros((100, 150))  # the network sees half
        values[y // 2 : (y + size) // 2, x // 2 : (x + size) // 2] = 1
        row = {"x0": x, "x1": x + size, "y0": y, "y1": y + size}
        crop = crop_of(values, row, about)
        assert crop is not None
        assert crop.shape == (EDGE, EDGE)
        assert abs(crop).sum() == pytest.approx(1)
        sums.append(crop[EDGE // 6 : -EDGE // 6, EDGE // 6 : -EDGE // 6].sum())
    assert sums == pytest.approx([1, 1])
    assert crop_of(np.zeros((100, 150)), row, about) is None


def test_a_planted_strategy_has_a_cluster_of_its_own() -> None:
    """Ten of forty maps look at a corner."""
    random = np.random.default_rng(0)
    crops = []
    for n in range(40):
        crop = random.random((EDGE, EDGE)) * 0.2
        crop[8:16, 8:16] += 1
        if n % 4 == 0:
            crop[8:16, 8:16] -= 0.9
            crop[:5, :5] += 2
        crops.append((crop / np.abs(crop).sum()).astype(np.float32))
    parts = spectral(np.stack([one.ravel() for one in crops]).astype(np.float64))
    labels = parts.labels
    assert (parts.together, parts.chance) == (1, pytest.approx(0.25**2 + 0.75**2))
    planted = set(labels[::4].tolist())
    assert len(planted) == 1
    assert not planted & set(np.delete(labels, np.arange(0, 40, 4)).tolist())
    found = group([100 + n for n in range(40)], crops)
    assert {frozenset(one.rows) for one in found.clusters} >= {frozenset(range(100, 140, 4))}
    assert {row for row, _ in found.outliers} <= set(range(100, 140, 4))


@pytest.mark.parametrize("more", [["--maps", "none", "--no-ledger"], ["--score", "0.999"]])
def test_a_report_without_maps_or_targets(tmp_path: Path, more: list[str]) -> None:
    """Its pages name no file that is not there, and say what there is."""
    write_program(tmp_path / "DIR")
    write_image(tmp_path / "in" / "a.png", 250)
    out = tmp_path / "out"
    call = ["run", str(tmp_path / "DIR"), "--data", str(tmp_path / "in"), "-o", str(out)]
    assert main([*call, "--device", "cpu", *more]) == 0
    (tmp_path / "in" / "a.png").unlink()
    assert main(["report", str(out), "--processes", "1"]) == 0
    pages = sorted((out / "report").rglob("*.html"))
    for page in pages:
        for name in re.findall(r'(?:src|href)="([^"#]+)"', page.read_text()):
            assert name.startswith("data:") or (page.parent / name).exists(), (page, name)
    index = (out / "report" / "index.html").read_text()
    if "--maps" in more:
        page_of_one = (out / "report" / "targets" / "000000.html").read_text()
        assert "photos/000000.webp" in page_of_one
        assert 'class="box"' in page_of_one
        assert "No map is stored" in page_of_one
        assert main(["export", str(out), "--to", "virelay", "-o", str(tmp_path / "v")]) == 2
    else:
        assert "Nothing was explained: no detection above 0.999" in index


# -- in a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page on which no script may fail and no file may be missing."""
    one = browser.new_page(viewport={"width": 1200, "height": 900})
    wrong: list[str] = []
    one.on("pageerror", lambda error: wrong.append(str(error)))
    one.on("requestfailed", lambda request: wrong.append(request.url))
    yield one
    one.close()
    assert not wrong


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_gallery_is_filtered_and_walked_by_keys(site: Path, page: Any) -> None:
    page.goto((site / "index.html").as_uri())
    assert page.locator(".card").count() == 21
    page.select_option("#label", label="cat")
    assert page.locator("#count").inner_text() == "7 of 21 targets, page 1 of 1"
    page.select_option("#label", "")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("03")
    assert page.locator(".card").count() == 2
    page.locator(".card").first.click()
    assert page.locator("h1").inner_text().startswith("class 2")
    before = page.url
    page.keyboard.press("ArrowRight")
    page.wait_for_url(lambda url: url != before)
    assert page.locator("h1").inner_text().startswith("cat")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_target_shows_its_layers(site: Path, page: Any) -> None:
    page.goto((site / "targets" / "000001.html").as_uri())
    shown = page.locator("#view .photo")
    assert shown.evaluate("one => one.naturalWidth") > 0
    for switch, layer in (("#box", ".box"), ("#mask", ".mask")):
        page.uncheck(f"input{switch}")
        hidden = page.locator(f"#view {layer}").evaluate("one => getComputedStyle(one).visibility")
        assert hidden == "hidden"
    page.locator("#opacity").evaluate(
        "one => { one.value = 40; one.dispatchEvent(new Event('input')) }"
    )
    opacity = page.locator("#view .map").evaluate("one => getComputedStyle(one).opacity")
    assert float(opacity) == pytest.approx(0.4)
    dark = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(dark)
    page.keyboard.press("d")
    assert page.evaluate(dark) != before


def test_weights_that_are_not_trained_are_said_on_every_page(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "RANDOM WEIGHTS" not in (site / "index.html").read_text()
    results = lrpc.open(site.parent)
    results.job["program"]["warning"] = RANDOM_WARNING
    monkeypatch.setattr("lrpc.results.opened.open", lambda path: results)
    call = ["report", str(site.parent), "-o", str(tmp_path / "r"), "--processes", "1"]
    assert main(call) == 0
    pages = [*(tmp_path / "r").glob("*.html"), *(tmp_path / "r" / "targets").glob("*.html")]
    assert all(RANDOM_WARNING in page.read_text() for page in pages)
