"""Images: found in order, upright, resized as detectron2 does, padded with the mean."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from lrpc.commands.session.changes import Change, change_of, notices
from lrpc.commands.session.images import find_images, load_image, read_rgb
from lrpc.commands.session.names import identity, output_stems
from lrpc.commands.session.sizing import Sizing, fit, shortest_edge
from lrpc.errors import ImageError
from lrpc.program.protocol import Size
from tests.fuzz.images import fuzz

MEAN = (10.0, 20.0, 30.0)


def sizing(*shapes: tuple[int, int], shortest: int = 0, longest: int = 0) -> Sizing:
    return Sizing(shapes, shortest, longest, MEAN, pad=True)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),  # detectron2's answers for 800 / 1333
        ((427, 640), (800, 1199)),
        ((300, 900), (444, 1333)),
        ((640, 480), (1067, 800)),
        ((311, 622), (667, 1333)),  # of 666.5 and 728.5, as its products round
        ((470, 860), (728, 1333)),
        ((860, 470), (1333, 728)),
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
    with pytest.raises(ImageError, match=r"no image in this folder \(known: \.avif"):
        find_images([tmp_path])


def test_stems_differ_however_alike_the_paths(tmp_path: Path) -> None:
    """Within a folder they are what they are alone; the same of two folders are marked."""
    names = ("x/a.png", "x/b.png", "y/a.png", "x/a.jpg", "x/A.bmp", "z/A_PNG.png")
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "x" / "b.instances.png").touch()
    (tmp_path / "x" / "b.json").touch()
    alone = [output_stems([path]) for path in paths]
    assert alone == [["a_png"], ["b"], ["a"], ["a_jpg"], ["A_bmp"], ["A_PNG"]]
    inside = [path for path in paths if path.parent.name == "x"]
    assert output_stems(inside) == ["a_png", "b", "a_jpg", "A_bmp"]
    stems = output_stems(paths)
    assert [stems[0], stems[5]] == [
        f"a_png-{identity(paths[0])[:8]}",
        f"A_PNG-{identity(paths[5])[:8]}",
    ]
    assert stems[1:5] == ["b", "a", "a_jpg", "A_bmp"]
    for n in range(len(paths)):  # whatever the order
        turned = [*paths[n:], *paths[:n]]
        assert dict(zip(turned, output_stems(turned), strict=True)) == dict(
            zip(paths, stems, strict=True)
        )


def test_identity_is_of_the_file_wherever_it_is_named_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "link.png").symlink_to("a.png")
    monkeypatch.chdir(tmp_path)
    assert identity(Path("a.png")) == identity(tmp_path / "a.png") == identity(Path("link.png"))
    assert identity(Path("b.png")) != identity(Path("a.png"))


def test_what_an_output_folder_has_decides() -> None:
    x, y = Path("x/a.png"), Path("y/a.png")
    marked = f"a-{identity(y)[:8]}"
    has = {"a": identity(x)}
    assert output_stems([x], has.get) == ["a"]
    assert output_stems([y], has.get) == [marked]  # never over those of another image
    assert output_stems([x, y], has.get) == ["a", marked]
    assert output_stems([y], {marked: identity(y)}.get) == [marked]  # as before


# -- whatever a file holds -------------------------------------------------------------------------


def refused(path: Path) -> str:
    """The one line of an image that is not loaded."""
    with pytest.raises(ImageError) as caught:
        load_image(path, SIZING)
    line = str(caught.value)
    assert line.isprintable()
    return line.removeprefix(f"{path}: ")


SIZING = Sizing(((32, 32),), 32, 64, (1.0, 2.0, 3.0), pad=True)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for a writer
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    assert refused(tmp_path / "pipe.png") == "is no regular file; name an image file"
    assert refused(Path("/dev/zero")) == "is no regular file; name an image file"
    assert refused(tmp_path / "folder.png") == "is a folder; name an image file"
    assert refused(tmp_path / "gone.png") == "cannot be read (no such file or directory)"
    assert refused(tmp_path / "loop.png") == "cannot be read (too many levels of symbolic links)"
    found = find_images([tmp_path])
    assert [path.name for path in found] == ["gone.png", "loop.png", "pipe.png"]


@pytest.mark.parametrize(
    "error",
    [
        *(struct.error("x"), SyntaxError("x"), OverflowError("x"), KeyError("x"), TypeError("x")),
        *(RecursionError("x"), zlib.error("x"), RuntimeError("x"), UserWarning("x"), OSError("x")),
        *(AttributeError("two\nlines \x1b[31m"), ValueError(), EOFError(), AssertionError("x")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_decoder_raises_is_that_image_s_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")

    def broken(self: Image.Image) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", broken)
    assert refused(tmp_path / "a.png").startswith("corrupt or cut short (")


def test_images_that_memory_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = b"II*\0\x08\0\0\0\x09\0"  # a TIFF of 24 × 5,242,900 pixels in 128 bytes
    tags = {256: 24, 257: 5_242_900, 258: 1, 259: 1, 262: 1, 273: 8, 277: 1, 278: 99, 279: 60}
    rows += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    (tmp_path / "bomb.tif").write_bytes(rows + b"\0" * 10)
    assert refused(tmp_path / "bomb.tif") == "too many pixels; scale it down first"
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def full(*words: object, **named: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "resize", full)
    assert refused(tmp_path / "a.png") == "memory does not hold it; scale it down first"


def test_a_format_that_runs_programs_is_not_read(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", format="EPS")  # Pillow calls Ghostscript
    assert refused(tmp_path / "a.png") == "not an image that Pillow can read"


def test_damaged_files_of_every_format_are_images_or_one_line(tmp_path: Path) -> None:
    """`python -m tests.fuzz.images --count 100000` is the long version."""
    found = fuzz(400, 5, tmp_path)
    assert found.keys() == {"image", "refused"}
    assert min(found.values()) > 30


# -- what is an image, and what was changed --------------------------------------------------------


def test_annotations_beside_their_images_are_not_images(tmp_path: Path) -> None:
    names = ["a.png", "a.instances.png", "a.7-0.mask.png", "b.c.jpg", "b.c.dog-1.mask.png"]
    names += ["alone.instances.png", "alone.mask.png"]  # of no image here: images themselves
    for name in names:
        (tmp_path / name).write_text("")
    found = [path.name for path in find_images([tmp_path])]
    assert found == ["a.png", "alone.instances.png", "alone.mask.png", "b.c.jpg"]
    named = tmp_path / "a.instances.png"
    assert find_images([named]) == [named]


@pytest.mark.parametrize(
    ("size", "shortest", "said"),
    [
        ((32, 48), 32, None),
        ((20, 48), 20, "padded to 32×48, as in the model's own inference"),  # multiples of 16
        ((16, 48), 16, "padded to 32×48; the model's own inference takes 16×48"),
        ((32, 32), 32, "padded to 32×48; the model's own inference takes 32×32"),
        ((32, 96), 32, "resized to 16×48, padded to 32×48; the model's own inference takes 32×96"),
        ((64, 96), 64, "resized to 32×48; the model's own inference takes 64×96"),
        ((32, 48), 64, "kept at 32×48; the model's own inference takes 64×96"),
        ((32, 48), 0, None),
    ],
)
def test_what_was_changed_is_told(
    tmp_path: Path, size: Size, shortest: int, said: str | None
) -> None:
    Image.new("RGB", size[::-1]).save(tmp_path / "a.png")
    sizing = Sizing(((32, 48),), shortest, 0, (1.0, 2.0, 3.0), 16, pad=True)
    change = change_of(load_image(tmp_path / "a.png", sizing))
    assert (change.words if change else None) == said


@pytest.mark.parametrize(
    ("size", "shortest", "own"),
    [
        ((32, 48), 32, ""),
        ((64, 96), 64, ""),  # of this aspect ratio
        ((64, 96), 0, ""),
        ((20, 48), 20, ""),  # padded to 32×48 by the model's own inference
        ((16, 48), 16, "16×48"),
        ((32, 32), 32, "32×32"),
        ((20, 48), 40, "48×96"),  # 40×96, padded
        ((31, 48), 64, "64×112"),
    ],
)
def test_images_are_padded_only_where_the_user_or_the_model_does(
    tmp_path: Path, size: Size, shortest: int, own: str
) -> None:
    Image.new("RGB", size[::-1]).save(tmp_path / "a.png")
    sizing = Sizing(((32, 48),), shortest, 0, (1.0, 2.0, 3.0), 16)
    assert load_image(tmp_path / "a.png", replace(sizing, pad=True)).frame == (32, 48)
    if not own:
        assert load_image(tmp_path / "a.png", sizing).frame == (32, 48)
        return
    with pytest.raises(ImageError) as caught:
        load_image(tmp_path / "a.png", sizing)
    shape = own.replace("×", ",")
    assert str(caught.value) == (
        f"{tmp_path / 'a.png'}: the program takes 32×48, the model's own inference makes this image"
        f" {own}; compile for any size (LRPC.DYNAMIC true) or for this one (LRPC.SHAPES"
        f" '[[{shape}]]'), or have it padded (--pad)"
    )


def test_changes_are_one_line_with_what_to_compile_for() -> None:
    assert notices([], 3) == ("", "")
    changes = [Change(f"{n}.png", (32 * n, 64), True, n > 2, "words") for n in (1, 1, 2, 3)]
    said = "are explained otherwise than the model's own inference sees them:"
    assert notices(changes, 9) == (
        f"warning: 4 of 9 images {said} 4 padded, 1 at another scale (1.png: words); compile for"
        " images of any size: LRPC.DYNAMIC true",
        "",
    )
    alike = [Change(f"{n}.png", (32 * n, 64), False, False, "words") for n in (4, 5)]
    assert notices([*alike, *changes[:2]], 9) == (
        f"warning: 2 of 9 images {said} 2 padded (1.png: words); compile for"
        " LRPC.SHAPES '[[32,64]]'",
        "note: 2 of 9 images are padded at the right and at the bottom, as the model's own"
        " inference pads them (4.png: to 128×64)",
    )
