"""Image files of many kinds in a job: explained as the model's own readers see them, or refused in
one line with a row that says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import lrpc
from lrpc.cli import main
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.jobs.units import frame_of
from lrpc.commands.session.images import load_image, read_rgb
from lrpc.commands.session.sizing import Sizing
from lrpc.results.source import Place
from lrpc.support.files import reason
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs
from tests.support.run_fakes import write_image, write_program

Pixels = NDArray[np.uint8]
ORIENTATION = 0x0112
#: How an image is stored whose EXIF tag says so: row 0 and column 0 are where (TIFF 6.0, page 36).
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def stored(pixels: Pixels, orientation: int, path: Path) -> Path:
    """A file that shows these pixels when it is turned as its EXIF tag says."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels)))
    image.save(path, exif=exif, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


NOISE = np.random.default_rng(0).integers(0, 256, (20, 36, 3), np.uint8)


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_all_orientations_are_read_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    path = stored(NOISE, orientation, tmp_path / f"a.{ending}")
    assert np.array_equal(np.asarray(read_rgb(path)), NOISE)
    item = Item("a", Place(path))
    assert np.array_equal(np.asarray(item.photo()), NOISE)
    wide = Sizing(((32, 64), (64, 32)), 0, 0, (0.0, 0.0, 0.0), pad=True)
    assert frame_of(item, wide) == (32, 64)


def test_maps_and_boxes_are_those_of_the_upright_image(programs: Programs, tmp_path: Path) -> None:
    """A scene in every orientation, and in memory, has the same results, report and figure."""
    with Image.open(EXAMPLE / "scenes" / "02.png") as image:
        scene = np.asarray(image.convert("RGB").crop((0, 0, 160, 120)).resize((280, 210)))
    (tmp_path / "in").mkdir()
    for n in STORED:
        stored(scene, n, tmp_path / "in" / f"{n}.{'tif' if n % 2 else 'png'}")
    call = ["run", str(programs.directory(DIGITS)), "--data", str(tmp_path / "in"), "--top", "1"]
    out = str(tmp_path / "out")
    assert main([*call, "-o", out, "--device", "cpu", "--batch-size", "4", "--no-ledger"]) == 0
    results = lrpc.open(out)
    first, *others = results
    assert len(others) == 7
    assert first.map.shape != first.original_map.shape
    assert first.original_map.shape == scene.shape[:2]
    for one in others:
        assert one.row["slug"] == first.row["slug"]
        names = ("x0", "y0", "x1", "y1", "mask_pixels", "value", "positive_share")
        assert [one.row[n] for n in names] == pytest.approx([first.row[n] for n in names], rel=1e-4)
        most = float(np.abs(first.map).max())
        np.testing.assert_allclose(one.original_map, first.original_map, atol=1e-4 * most)
        assert np.array_equal(np.asarray(one.photo), scene)
        assert one.picture().size == (280, 210)
    with Image.open(tmp_path / "in" / "6.png") as turned:
        program: Any = lrpc.load(programs.directory(DIGITS))
        (one,) = program.explain(turned, top=1)
    assert one.box == pytest.approx(first.box, rel=1e-4)
    assert main(["report", out, "--processes", "1"]) == 0
    for n in range(8):
        with Image.open(tmp_path / "out" / "report" / "photos" / f"{n:06}.webp") as photo:
            assert np.abs(np.asarray(photo).astype(int) - scene).mean() < 12


def test_the_first_of_several_frames_is_explained(tmp_path: Path) -> None:
    program = write_program(tmp_path / "DIR")
    frames = [Image.new("RGB", (48, 32), (red, 40, 50)) for red in (150, 20, 250)]
    (tmp_path / "in").mkdir()
    for ending in ("gif", "webp", "tif", "png"):
        more: dict[str, Any] = {"lossless": True} if ending == "webp" else {}
        path = tmp_path / "in" / f"a.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **more)
    frames[0].save(tmp_path / "in" / "b.gif")
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    call = ["run", str(program), "--device", "cpu"]
    assert main([*call, "--data", source, "-o", out]) == 0
    results = lrpc.open(out)
    assert results.images["frames"].to_pylist() == [3, 3, 3, 3, 1]
    assert results.images["targets"].to_pylist() == [1] * 5
    for one in results:
        red = np.asarray(one.photo)[..., 0]
        assert np.abs(red.astype(int) - 150).max() < 8
    assert main(["report", out, "--processes", "1"]) == 0
    pages = [(tmp_path / "out" / "report" / "targets" / f"00000{n}.html") for n in (0, 4)]
    told = ["The first of 3 frames or pages" in page.read_text() for page in pages]
    assert told == [True, False]
    assert main([*call, "--images", source, "-o", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "a_gif.json").read_text())["image"]["frames"] == 3


def test_files_that_are_odd_or_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of what is no image of 8 bits, each has one line and a row; the rest are explained."""
    program, folder = write_program(tmp_path / "DIR"), tmp_path / "in"
    whole = write_image(folder / "whole.jpg", 150)
    image = Image.open(whole).convert("RGB")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "p.png", transparency=0)
    image.resize((1, 1)).save(folder / "one.png")
    image.save(folder / "png.jpg", format="PNG")
    Image.new("RGB", (6000, 4000), (150, 40, 50)).save(folder / "large.png")
    deep = np.full((32, 48), 40000, np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(deep).save(folder / "deep.tif")
    Image.fromarray(deep.astype(np.float32)).save(folder / "float.tif")
    (folder / "cut.jpg").write_bytes(whole.read_bytes()[:-200])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.webp").write_text("no image")
    image.resize((12000, 16000)).save(folder / "huge.png")
    out = tmp_path / "out"
    call = ["run", str(program), "--data", str(folder), "--device", "cpu", "-o", str(out)]
    assert main([*call, "--pad"]) == 1
    said = capsys.readouterr().err.splitlines()
    results = lrpc.open(out)
    failed = {one["name"]: one["error"] for one in results.failures.to_pylist()}
    for name, words in {
        "deep.png": "I;16 pixels; convert it to 8 bits per channel",
        "deep.tif": "I;16 pixels; convert it to 8 bits per channel",
        "float.tif": "F pixels; convert it to 8 bits per channel",
        "cut.jpg": "corrupt or cut short (",
        "empty.png": "not an image that Pillow can read",
        "text.webp": "not an image that Pillow can read",
        "huge.png": "too many pixels; scale it down first",
    }.items():
        assert failed.pop(name).startswith(f"{name}: {words}")
        assert len([line for line in said if line.startswith(f"{name}: {words}")]) == 1
    assert failed == {}
    explained = {one.row["name"] for one in results}
    assert explained == {"cmyk.jpg", "p.png", "one.png", "png.jpg", "large.png", "whole.jpg"}
    for one in results:
        one.picture()


def test_an_image_that_the_model_s_own_rule_makes_nothing_of(tmp_path: Path) -> None:
    rule = Sizing((), 96, 160, (0.0, 0.0, 0.0), steps=(32, 32), rule="aspect", pad=True)
    write_image(tmp_path / "a.png", 150, (400, 1))
    with pytest.raises(lrpc.ImageError, match="is too narrow: the model's own inference makes it"):
        load_image(tmp_path / "a.png", rule)


def test_what_the_system_says_is_taken_out_of_a_library_s_words() -> None:
    text = "Can't write data (file write failed: errno = 28, message = 'No space left on device'"
    assert reason(OSError(28, text)) == "no space left on device"
    assert reason(OSError(28, "Disk quota")) == "disk quota"
