"""`program.explain`, `lrpc.images` and figures of what they give."""

from __future__ import annotations

import inspect
import json
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import lrpc
from lrpc.cli import main
from lrpc.commands.session.conditions import condition_part, joined
from lrpc.errors import ProgramError
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs
from tests.support.run_fakes import HEIGHT, WIDTH, write_image, write_program


@pytest.fixture
def program(tmp_path: Path) -> Any:
    return lrpc.load(write_program(tmp_path / "DIR"))


def test_all_forms_of_images_give_the_same(program: Any, tmp_path: Path) -> None:
    path = write_image(tmp_path / "in" / "a.png", 250)
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    alone = program.explain(path)
    assert [one.row["slug"] for one in alone] == ["class_logit-q1-c2", "class_logit-q3-c0"]
    mixed = [str(path.parent), lrpc.images(path.parent)[0], image, np.asarray(image)]
    found = program.explain(mixed, batch_size=3)
    names = [one.row["name"] for one in found]
    assert names == [name for name in ("a.png", "a.png", "image 2", "image 3") for _ in range(2)]
    for n, one in enumerate(found):
        assert np.array_equal(one.map, alone[n % 2].map)
        assert one.box == alone[n % 2].box
        assert np.array_equal(np.asarray(one.photo), np.asarray(image))
    assert found.frame()["slug"].tolist() == [one.row["slug"] for one in found]


def test_options_are_those_of_the_command(program: Any, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", 250)
    assert [one.row["class_name"] for one in program.explain(path, classes=["cat"])] == ["cat"]
    assert len(program.explain(path, ["class_logit", "box"], top=1)) == 5
    assert program.explain(path, ledger=False)[0].row["sinks"] is None
    assert program.explain(path, score=0.99).notes == {
        "a.png": "no detection above 0.99 (largest class probability 0.98)"
    }
    with pytest.raises(lrpc.LrpcError, match="did you mean 'class_logit'"):
        program.explain(path, "clas_logit")


def test_the_method_has_the_help_of_the_function(program: Any) -> None:
    assert program.explain.__doc__ == lrpc.explain.__doc__
    assert list(inspect.signature(program.explain).parameters)[:2] == ["given", "target"]


def test_an_image_that_fails_is_told_and_the_rest_go_on(program: Any, tmp_path: Path) -> None:
    good, bad = write_image(tmp_path / "a.png", 150), tmp_path / "b.png"
    bad.write_bytes(b"no image")
    found = program.explain([bad, good])
    assert len(found) == 1
    assert found.errors == {"b.png": "b.png: not an image that Pillow can read"}
    with pytest.raises(lrpc.ImageError, match=r"image 0: an array is uint8 \[h, w, 3\]"):
        program.explain(np.zeros((3, HEIGHT, WIDTH)))


def test_it_equals_a_job(program: Any, tmp_path: Path) -> None:
    for n in range(3):
        write_image(tmp_path / "in" / f"{n}.png", 250 if n % 2 else 150)
    call = ["run", str(tmp_path / "DIR"), "--data", str(tmp_path / "in"), "--device", "cpu"]
    main([*call, "-o", str(tmp_path / "out")])
    here, there = program.explain(tmp_path / "in"), lrpc.open(tmp_path / "out")
    assert [one.row for one in here] == [one.row for one in there]
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.map, other.map)


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_figures(program: Any, tmp_path: Path, ending: str) -> None:
    one = program.explain(write_image(tmp_path / "a.png", 150))[0]
    one.save(tmp_path / f"f.{ending}", width=3, dpi=100, cmap="RdBu_r")
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert (tmp_path / f"f.{ending}").read_bytes().startswith(start)
    if ending == "png":
        with Image.open(tmp_path / "f.png") as picture:
            assert picture.width == 300
    with pytest.raises(lrpc.ProgramError, match="figures are written as png, pdf"):
        one.save(tmp_path / "f.bmp")
    assert not (tmp_path / "f.bmp").exists()


def test_relevance_as_colours() -> None:
    values = np.array([[1.0, -1.0, 0.0]])
    (for_, against, nothing) = lrpc.imgify(values)[0].tolist()
    assert nothing == [255, 255, 255]
    assert for_[0] > for_[2]
    assert against[2] > against[0]
    assert np.array_equal(
        lrpc.imgify(np.stack([values, values * 0, values * 0])), lrpc.imgify(values)
    )


def test_relevance_inside_the_network_as_maps(programs: Programs) -> None:
    """Tokens of an encoder level by level, as the maps that they are made of."""
    program: Any = lrpc.load(programs.directory(DIGITS))
    read = ["encoder.input*", "backbone.res3", "decoder.layers.1"]
    found = program.explain(EXAMPLE / "scenes" / "02.png", top=1, read=read)[0]
    layers = found.layers
    assert layers["backbone.res3"].shape == (20, 20)
    assert layers["decoder.layers.1"].ndim == 1
    for level, side in (("res3", 20), ("res4", 10), ("res5", 5)):
        tokens = layers[f"encoder.input, {side}×{side}"]
        assert tokens == pytest.approx(layers[f"encoder.input.{level}"], abs=1e-5)


def test_a_condition_for_all_targets(programs: Programs) -> None:
    """What passes is part of what is asked; the program has to be compiled for it."""
    own = programs.digits(TARGETS="[class_logit]", CONDITIONS=["encoder.layers.1"])
    program = lrpc.load(own.directory)
    chosen = [range(128), range(128, 256)]
    halves = [program.explain(EXAMPLE, condition={"encoder.layers.1": one}) for one in chosen]
    whole = program.explain(EXAMPLE)
    total = halves[0][0].map + halves[1][0].map
    assert np.abs(total - whole[0].map).max() < 1e-4 * np.abs(whole[0].map).max()
    assert halves[0].job["asked"]["request"]["condition"] == {"encoder.layers.1": [*range(128)]}
    assert "condition" not in whole.job["asked"]["request"]
    alone = lrpc.load(programs.digits(TARGETS="[class_logit]").directory)
    with pytest.raises(ProgramError, match=r"it was compiled without any \(LRPC.CONDITIONS\)"):
        alone.explain(EXAMPLE, condition={"encoder.layers.1": [0]})


def test_a_condition_from_the_command_line(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures and data sets are of what passes, and say so; the same as from Python."""
    own = programs.digits(TARGETS="[class_logit]", CONDITIONS=["encoder.layers.1"])
    words = ["run", str(own.directory), "--top", "1"]
    some = ["--condition", "encoder.layers.1=0-126", "--condition", "encoder.layers.1=127"]
    for source in ("--images", "--data"):
        out = tmp_path / source.strip("-")
        assert main([*words, source, str(EXAMPLE / "scenes/02.png"), "-o", str(out), *some]) == 0
    (file,) = (tmp_path / "images").glob("*.json")
    record = json.loads(file.read_text())
    passed = {"encoder.layers.1": [*range(128)]}
    assert record["run"]["request"]["condition"] == passed
    whole = lrpc.load(own.directory).explain(EXAMPLE / "scenes/02.png", top=1, condition=passed)
    tensors = load_file(tmp_path / "images" / record["tensors"])
    ((_, drawn),) = ((k, v) for k, v in tensors.items() if k.endswith("input"))
    assert drawn.sum().item() == pytest.approx(float(whole[0].map.sum()), rel=1e-4)
    assert np.allclose(lrpc.open(tmp_path / "data")[0].map, whole[0].map, atol=1e-6)
    capsys.readouterr()
    for given, line in {
        "encoder.layers.2=0": "passes no such mask; did you mean 'encoder.layers.1'?",
        "encoder.layers.1=256": "condition at 'encoder.layers.1': channel 256; it has 0..255",
    }.items():
        out = tmp_path / "refused"
        assert main([*words, "--data", str(EXAMPLE), "-o", str(out), "--condition", given]) == 2
        assert line in " ".join(capsys.readouterr().err.split())
        assert not out.exists()


def test_conditions_in_words() -> None:
    assert condition_part("a.b=7,12-14") == ("a.b", (7, 12, 13, 14))
    assert joined([("a", (3, 1)), ("b", (0,)), ("a", (1, 2))]) == (("a", (1, 2, 3)), ("b", (0,)))
    for text in ("a", "a=", "=1", "a=1-", "a=-1", "a=x", "a=1,,2", "a=3-1", "a=9999999"):
        with pytest.raises(ArgumentTypeError, match="is not PLACE=CHANNELS"):
            condition_part(text)
