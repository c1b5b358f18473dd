"""Images: found in order, upright, resized as detectron2 does, padded with the mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrpc.errors import ImageError
from lrpc.run.images import Sizing, find_images, fit, load_image, read_rgb, shortest_edge
from lrpc.run.names import output_stems

MEAN = (10.0, 20.0, 30.0)


def sizing(*shapes: tuple[int, int], shortest: int = 0, longest: int = 0) -> Sizing:
    return Sizing(shapes, shortest, longest, MEAN)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),  # detectron2's answers for 800 / 1333
        ((427, 640), (800, 1199)),
        ((300, 900), (444, 1333)),
        ((640, 480), (1067, 800)),
    ],
)
def test_shortest_edge_is_detectron2s(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shortest_edge(size, 800, 1333) == expected


def test_fit_shrinks_into_the_shape_that_shows_most() -> None:
    wide_and_tall = sizing((32, 64), (64, 32), shortest=64, longest=128)
    assert fit((50, 100), wide_and_tall) == ((32, 64), (32, 64))
    assert fit((100, 50), wide_and_tall) == ((64, 32), (64, 32))
    assert fit((10, 100), wide_and_tall) == ((32, 64), (6, 64))
    assert fit((64, 32), wide_and_tall) == ((64, 32), (64, 32))  # as it is, though test size is 64


def test_exact_size_keeps_its_pixels(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png", sizing((32, 48), shortest=800, longest=1333))
    assert loaded.pixels.dtype == torch.float32
    assert torch.equal(loaded.pixels, torch.from_numpy(noise).permute(2, 0, 1).float())
    assert np.array_equal(loaded.photo(), noise)
    assert (loaded.valid, loaded.original, loaded.frame) == ((32, 48),) * 3


def test_padding_is_the_mean_at_bottom_and_right(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (200, 0, 0)).save(tmp_path / "a.png")
    loaded = load_image(tmp_path / "a.png", sizing((32, 32)))
    assert loaded.valid == (16, 32)
    assert loaded.pixels[:, 15, 31].tolist() == [200, 0, 0]
    assert loaded.pixels[:, 16, 0].tolist() == list(MEAN)
    assert loaded.photo().shape == (16, 32, 3)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 5, 10))  # the left part is white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: left becomes top
    image.save(tmp_path / "a.png", exif=exif)
    upright = np.asarray(read_rgb(tmp_path / "a.png"))
    assert upright.shape == (20, 10, 3)
    assert upright[0].min() == 255
    assert upright[-1].max() == 0


def test_grey_palette_and_alpha_become_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "1", "CMYK"):
        path = tmp_path / f"{mode}.tif"
        Image.new(mode, (4, 4)).save(path)
        assert read_rgb(path).mode == "RGB"


def test_bad_files_are_told_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("not an image")
    whole = tmp_path / "whole.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        whole
    )
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:4000])
    empty = tmp_path / "empty.jpg"
    empty.write_bytes(b"")
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(deep)
    for path, message in [
        (text, "not an image that Pillow can read"),
        (empty, "not an image that Pillow can read"),
        (cut, "corrupt or cut short (image file is truncated"),
        (deep, "I;16 pixels; convert it to 8 bits per channel"),
    ]:
        with pytest.raises(ImageError) as caught:
            read_rgb(path)
        assert str(caught.value).startswith(f"{path}: {message}")
        assert "\n" not in str(caught.value)


def test_find_images_sorts_folders_and_drops_repeats(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub.png/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    named = tmp_path / "notes.txt"
    found = find_images([named, tmp_path, tmp_path / "b.png"])
    assert [path.name for path in found] == ["notes.txt", "a.JPG", "b.png"]


def test_find_images_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: no such file or folder"):
        find_images([tmp_path / "gone.png"])
    with pytest.raises(ImageError, match=r"no image in this folder \(known: \.bmp"):
        find_images([tmp_path])


def test_stems_differ_however_alike_the_paths() -> None:
    paths = [Path(p) for p in ("x/a.png", "x/b.png", "y/a.png", "x/a.jpg", "x/A.bmp")]
    stems = output_stems(paths)
    assert stems == ["x_a_png", "b", "y_a_png", "a_jpg", "A_bmp"]
    assert output_stems([Path("a.png"), Path("a.png")])[1].endswith("-2")
