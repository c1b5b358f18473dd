"""`lrpc run --format`, `--width`, `--dpi`: panels as figures for print."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lrpc.cli import main
from lrpc.commands.drawing import printed
from lrpc.commands.drawing.render import Caption, Marks
from tests.support.run_fakes import write_image, write_program

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    write_program(tmp_path / "DIR")
    write_image(tmp_path / "a$b$.png", 250)
    where = ["--images", str(tmp_path / "a$b$.png"), "-o", str(tmp_path / "out")]
    return ["run", str(tmp_path / "DIR"), *where, "--device", "cpu"]


def panels(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "out").iterdir() if ".panel." in path.name)


def test_svg_keeps_text_as_text_and_its_bytes(tmp_path: Path, call: list[str]) -> None:
    assert main([*call, "--format", "svg", "--width", "5"]) == 0
    found = panels(tmp_path)
    assert [path.suffix for path in found] == [".svg"] * 2
    tree = ElementTree.fromstring(found[0].read_bytes())
    assert tree.get("width") == "360pt"  # 5 inches
    words = " ".join("".join(one.itertext()) for one in tree.iter(f"{SVG}text"))
    assert "class_logit" in words
    assert "a$b$.png" in words  # no formula
    assert "overlay" in words
    assert len(list(tree.iter(f"{SVG}image"))) == 4  # three pictures and the colour bar
    before = found[0].read_bytes()
    record = json.loads((tmp_path / "out" / "a$b$.json").read_text())
    assert record["targets"][0]["files"]["panel"] == found[0].name
    assert record["run"]["display"]["format"] == "svg"
    assert main([*call, "--format", "svg", "--width", "5"]) == 0
    assert panels(tmp_path)[0].read_bytes() == before


def test_pdf_embeds_its_font_and_earlier_panels_go(tmp_path: Path, call: list[str]) -> None:
    assert main(call) == 0
    assert [path.suffix for path in panels(tmp_path)] == [".png"] * 2
    assert main([*call, "--format", "pdf"]) == 0
    found = panels(tmp_path)
    assert [path.suffix for path in found] == [".pdf"] * 2
    data = found[0].read_bytes()
    assert data.startswith(b"%PDF")
    assert b"/CIDFontType2" in data  # TrueType, which is type 42, not outlines of type 3
    assert b"/Type3" not in data
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ", data)
    assert box is not None
    assert float(box[1]) == pytest.approx(7 * 72)


def test_png_by_inches_and_dots(tmp_path: Path, call: list[str]) -> None:
    assert main([*call, "--width", "3", "--dpi", "200"]) == 0
    with Image.open(panels(tmp_path)[0]) as page:
        assert page.width == 600
        assert page.info["dpi"] == pytest.approx((200, 200), abs=0.1)


@pytest.mark.parametrize("width", [1.5, 3.3, 7.0, 12.0])
def test_nothing_leaves_the_page_or_runs_into_another(width: float) -> None:
    long = "relevance 2.43 at the target, 5.37 at the image  ·  composite maskdino  ·  " * 3
    marks = Marks("a long label of a class  0.89", (40, 1, 47, 20), np.ones((24, 48), bool), (9, 9))
    one = printed.Panel(
        np.zeros((32, 48, 3), np.uint8),
        np.linspace(-1, 1, 32 * 48).reshape(32, 48),
        0.5,
        marks,
        Caption("5: class_logit, query 0", long, warning="RANDOM WEIGHTS: not trained"),
        (24, 48),
    )
    made = printed.drawn(one, width)
    made.draw_without_rendering()
    page = made.bbox
    texts = [*made.texts, *(text for axes in made.axes[:3] for text in axes.texts)]
    above, tiles = made.texts, [axes.get_window_extent() for axes in made.axes]
    for text in texts:
        box = text.get_window_extent()
        if width > 2:
            assert page.x0 - 1 <= box.x0 <= box.x1 <= page.x1 + 1, text.get_text()
        assert page.y0 - 1 <= box.y0 <= box.y1 <= page.y1 + 1, text.get_text()
    assert all(text.get_window_extent().y0 >= tiles[0].y1 for text in above)
    photo, heat, legend, _ = made.axes
    name = heat.texts[-1].get_window_extent()
    assert legend.get_window_extent().y1 <= name.y0 + 1
    assert name.y1 <= photo.get_window_extent().y0 + 1


def test_refusals(tmp_path: Path, call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*call, "--width", "0"])
    assert "'0' is not a number from 1 to 40" in capsys.readouterr().err
    data = [word.replace("--images", "--data") for word in call]
    assert main([*data, "--format", "pdf"]) == 2
    assert "--format draws pictures: it goes with --images" in capsys.readouterr().err
