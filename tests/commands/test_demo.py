"""What the page of `lrpc demo` computes and shows, without Gradio; see `test_demo_browser.py`."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrpc.cli import main
from lrpc.commands.demo import command, views
from lrpc.commands.demo.explorer import Explorer
from lrpc.commands.demo.page import ALONE, Page
from lrpc.commands.session.options import Options
from lrpc.errors import LrpcError, ProgramError
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs
from tests.support.run_fakes import HEIGHT, WIDTH, FakeProgram, write_image, write_program


class Refused(Exception):
    """A stand-in for `gradio.Error`."""

    def __init__(self, text: str, print_exception: bool = True) -> None:
        super().__init__(text)


@pytest.fixture
def page() -> Page:
    explorer = Explorer(FakeProgram(), Path("DIR"), Options(output=Path()))
    return Page(SimpleNamespace(update=lambda **values: values, Error=Refused), explorer)


def photo(red: int, enlarged: int = 2) -> Image.Image:
    """An image twice as large as the network's input."""
    return Image.new("RGB", (WIDTH * enlarged, HEIGHT * enlarged), (red, 40, 50))


def test_an_image_is_shown_with_what_is_found_in_it(page: Page) -> None:
    found, picture, listed, targets, classes, note = page.detect(photo(250))
    assert listed == {
        "choices": ["1: class 2 (0.95)", "2: cat (0.93)"],
        "value": "1: class 2 (0.95)",
    }
    assert classes == {"choices": ["cat", "dog", "class 2"], "value": "class 2"}
    assert targets["choices"][:3] == ["class_logit", "mask_logit", "box: cx"]
    assert note == ""
    assert picture.size == (views.scale(found) * 2 * WIDTH, views.scale(found) * 2 * HEIGHT)
    _, _, listed, _, _, note = page.detect(photo(20))
    assert listed == {"choices": [], "value": None}
    assert note == "no detection above 0.5 (largest class probability 0.01)"
    assert page.detect(None)[0] is None


def test_a_click_chooses_the_smallest_box_around_it(page: Page) -> None:
    found = page.detect(photo(250))[0]
    factor = views.scale(found)
    middle = (WIDTH * factor, HEIGHT * factor)  # of the picture
    assert page.click(found, None, *middle) == "1: class 2 (0.95)"
    assert page.click(found, "2: cat (0.93)", 0, 0) == "2: cat (0.93)"  # no box is there
    assert page.click(None, None, 0, 0) is None
    label, picture = page.choose(found, "2: cat (0.93)")
    assert label == {"value": "cat"}
    assert not np.array_equal(picture, page.choose(found, "1: class 2 (0.95)")[1])


@pytest.mark.parametrize(
    ("target", "label", "index"),
    [("class_logit", "cat", [3, 0]), ("class_logit", "dog", [3, 1]), ("box: w", "dog", [3, 2])],
)
def test_a_target_of_a_detection_is_explained(
    page: Page, target: str, label: str, index: list[int]
) -> None:
    found = page.detect(photo(250))[0]
    pictures, ledgers, title = page.explain(found, "2: cat (0.93)", target, label, ALONE, "overlay")
    program: Any = page.explorer.session.members[0].program
    assert program.calls[-1][1].flatten().tolist() == index
    assert [name for _, name in pictures] == ["attnlrp"]
    assert title.startswith(target.split(":")[0])
    assert ledgers.count("<tr>") == 1 + 2 + 2  # the head, start and image, two sinks
    assert page.explain(found, None, target, label, ALONE, "map") == ([], "", "")


def test_errors_are_shown_on_the_page(page: Page) -> None:
    def fails() -> None:
        raise ProgramError("in one line")

    with pytest.raises(Refused, match="in one line"):
        page.shown(fails)()


def test_all_composites_are_side_by_side(programs: Programs) -> None:
    program: Any = programs.loaded(DIGITS, COMPOSITE="[maskdino, epsilon]")
    explorer = Explorer(program, Path("digits"), Options(output=Path()))
    found = explorer.detect(Image.open(EXAMPLE / "scenes" / "02.png"))
    choices = {choice.name: choice for choice in explorer.choices(found)}
    answer = explorer.explain(found, 0, choices["class_logit"], 5)
    assert list(answer.found) == explorer.composites == ["maskdino", "epsilon"]
    direct = program.relevance(
        found.state, "class_logit", at=[tuple(answer.seed.index)], composite="epsilon"
    )
    assert np.array_equal(answer.found["epsilon"].input, direct.input[0, 0])
    for one in answer.found.values():
        rows = views.rows_of(one)
        start, image = rows.pop("start"), rows.pop("image")
        assert start == pytest.approx(image + sum(rows.values()), abs=1e-4)
    contrast = explorer.explain(found, 0, choices["class_logit"], 5, "mean")
    assert contrast.seed.slug == "class_logit-q0-c5-vs-mean"
    semantic = {"semantic_segment", "panoptic_segment"} & set(choices)
    assert not semantic  # this program makes no such results


def test_names_are_shown_and_not_obeyed(page: Page) -> None:
    found = page.detect(photo(150))[0]
    choice = page.choice(found, "class_logit")
    answer = page.explorer.explain(found, 0, choice, 2)
    odd = type(answer)(answer.seed, {"<b>": answer.found["attnlrp"]})
    assert "&lt;b&gt;" in views.ledgers(odd)
    assert "<b>" not in views.ledgers(odd)


def test_without_gradio_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", str(write_program(tmp_path / "DIR"))]) == 2
    told = capsys.readouterr().err
    assert told == "error: the demo needs gradio: pip install 'lrpc[demo]'\n"


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LrpcError, match=rf"127.0.0.1:{port}: cannot be served \("):
            command.free_port("127.0.0.1", port)
    assert command.free_port("127.0.0.1", 0) > 0


def test_a_picture_of_an_unusual_mode_is_taken(page: Page, tmp_path: Path) -> None:
    image = Image.open(write_image(tmp_path / "a.png", 250)).convert("RGBA")
    assert len(page.detect(image)[0].scene.found) == 2
