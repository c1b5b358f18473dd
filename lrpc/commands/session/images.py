"""Images from disk to the network's input: found, read upright, resized, padded."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lrpc.commands.session.sizing import Sizing, fit, words
from lrpc.errors import ImageError, LrpcError
from lrpc.program.protocol import Size
from lrpc.results.source import formats
from lrpc.support.files import reason, shown

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
PICTURES = (".heatmap.png", ".overlay.png", ".panel.png")  # that `lrpc run --images` draws
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow would clip, not scale these


Window = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image as the program takes it: `pixels` f32[3, H, W] in 0–255, RGB, padded with the mean.

    `valid` is the (h, w) at the top left that holds the image, `original` its size on disk. The
    model's own inference would resize it to `wanted` and pad it to `own` (None: not known). A mask
    of padding leaves `unmasked` (None: `valid`) at the top left. `masked` says that it is padded as
    transformers pads the images of a batch. `window` is what of the image on disk is seen, as
    (top, left, height, width) in its pixels (None: all of it). Of a file's `frames` or pages it is
    the first.
    """

    path: Path
    pixels: Tensor
    valid: Size
    original: Size
    wanted: Size | None = None
    own: Size | None = None
    unmasked: Size | None = None
    masked: bool = False
    window: Window | None = None
    frames: int = 1

    @property
    def seen(self) -> Window:
        """What of the image on disk is seen: (top, left, height, width) in its pixels."""
        return self.window or (0.0, 0.0, float(self.original[0]), float(self.original[1]))

    @property
    def attended(self) -> Size:
        """The (h, w) at the top left that a mask of padding leaves."""
        return self.unmasked or self.valid

    @property
    def frame(self) -> Size:
        """The (H, W) of the network's input."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])

    def photo(self) -> NDArray[np.uint8]:
        """What is not padding, uint8 [h, w, 3]."""
        height, width = self.valid
        return self.whole()[:height, :width]

    def whole(self) -> NDArray[np.uint8]:
        """The network's input with its padding, uint8 [H, W, 3]."""
        return self.pixels.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Every image file named, and those directly inside each folder named, each once.

    Folders are listed in name order and by known suffix, without annotations of their images
    (`annotates`); a file named outright is taken whatever its name. Raises ImageError where a path
    does not exist or a folder holds no image, or cannot be listed.
    """
    found: dict[str, Path] = {}
    for path in paths:
        with decoding(path):
            if path.is_dir():
                inside = _inside(path)
            elif os.path.lexists(path):
                inside = [path]
            else:
                raise ImageError(f"{shown(path)}: no such file or folder")
            for item in inside:
                found.setdefault(os.path.realpath(item), item)
    return list(found.values())


def _inside(folder: Path) -> list[Path]:
    """The images directly in a folder; what only looks like a file is left to the reader."""
    every = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES]
    every = sorted(p for p in every if not p.is_dir() and not p.name.startswith("."))
    stems = {p.stem for p in every}
    images = [p for p in every if not annotates(p.name, stems)]
    if not images:
        known = " ".join(SUFFIXES)
        raise ImageError(f"{shown(folder)}: no image in this folder (known: {known})")
    return images


def annotates(name: str, stems: Collection[str]) -> bool:
    """Whether a file is made for an image with one of these stems: an annotation as `lrpc evaluate`
    reads them, `STEM.instances.png` or `STEM.CLASS-NUMBER.mask.png`, or a picture of `lrpc run`."""
    for ending in (".instances.png", ".mask.png", *PICTURES):
        if name.endswith(ending):
            parts = name.removesuffix(ending).split(".")
            return any(".".join(parts[:n]) in stems for n in range(1, len(parts) + 1))
    return False


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with the image in a file into one line, an ImageError."""
    try:
        yield
    except LrpcError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{shown(path)}: not an image that Pillow can read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{shown(path)}: too many pixels; scale it down first") from error
    except MemoryError as error:
        raise ImageError(f"{shown(path)}: memory does not hold it; scale it down first") from error
    except Exception as error:
        # Decoders of a dozen formats meet data of any origin in here, and give up in any way: with
        # struct.error, SyntaxError, KeyError, RuntimeError, RecursionError, zlib.error, … None of
        # them means more than that this one file cannot be read.
        if isinstance(error, OSError) and error.errno is not None:
            raise ImageError(f"{shown(path)}: cannot be read ({reason(error)})") from error
        raise ImageError(f"{shown(path)}: corrupt or cut short ({reason(error)})") from error


@contextmanager
def open_image(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """An image file as Pillow opens it, not decoded yet, or its bytes where they are read already;
    what goes wrong in the block is an ImageError in one line."""
    with (
        decoding(path),
        warnings.catch_warnings(),
        _open_regular(path) if data is None else io.BytesIO(data) as file,
    ):
        warnings.simplefilter("ignore")  # odd files: what matters raises
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=formats()) as image:
            if 0 in image.size:
                raise ImageError(f"{shown(path)}: has no pixels")
            yield image


def _open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or device would block, or be changed by it."""
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        raise ImageError(f"{shown(path)}: is {what}; name an image file")
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def read_rgb(path: Path, data: bytes | None = None) -> Image.Image:
    """The image as RGB, turned upright: the first part of `read_first`."""
    return read_first(path, data)[0]


def read_first(path: Path, data: bytes | None = None) -> tuple[Image.Image, int]:
    """The image as RGB, turned upright by its EXIF orientation; of an animation, or of pages, the
    first. And how many of these its file has.

    Raises ImageError with one line for what is not an image, is cut short or corrupt, is too large
    for Pillow's limit, or has more than 8 bits per channel.
    """
    with open_image(path, data) as image:
        if image.mode in DEEP_MODES:
            raise ImageError(
                f"{shown(path)}: {image.mode} pixels; convert it to 8 bits per channel"
            )
        frames = int(getattr(image, "n_frames", 1))
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return image if image.mode == "RGB" else image.convert("RGB"), frames


def load_image(path: Path, sizing: Sizing, data: bytes | None = None) -> LoadedImage:
    """Read, resize (with Pillow, as detectron2 does) and pad one image at bottom and right.

    Where an image processor crops, the centre is all that is seen. The padding is the pixel mean:
    the released code pads with zeros *after* normalisation. `data` are the file's bytes, where they
    are read already. Raises ImageError as `read_rgb` does,
    and where `sizing` does not allow that it is padded.
    """
    image, frames = read_first(path, data)
    original = (image.height, image.width)
    frame, valid = fit(original, sizing)
    if 0 in valid:
        raise ImageError(
            f"{shown(path)}: is too narrow: the model's own inference makes it {words(valid)}"
        )
    if refusal := sizing.refusal(frame, valid, original):
        raise ImageError(f"{shown(path)}: {refusal}")
    with decoding(path):
        image, window = _resized(image, valid, sizing)
        # By NumPy: in a thread that reads ahead, torch would start threads of its own.
        values = np.empty((3, *frame), np.float32)
        values[:] = np.array(sizing.fill, np.float32)[:, None, None]
        values[:, : valid[0], : valid[1]] = np.asarray(image).transpose(2, 0, 1)
        pixels = torch.from_numpy(values)
    unmasked = sizing.unmasked(frame, valid, original)
    own = sizing.own(original)
    masked = sizing.in_a_batch(valid, original)
    return LoadedImage(path, pixels, valid, original, *own, unmasked, masked, window, frames)


def _resized(image: Image.Image, size: Size, sizing: Sizing) -> tuple[Image.Image, Window | None]:
    """An image at a size, or the centre of that size of one that is larger, and what of the image
    that is."""
    original = (image.height, image.width)
    cut = sizing.cut(original)
    whole, (top, left) = (size, (0, 0)) if cut is None else cut
    if whole != original:
        image = image.resize((whole[1], whole[0]), Image.Resampling[sizing.filter.upper()])
    if cut is None:
        return image, None
    down, across = (a / b for a, b in zip(original, whole, strict=True))
    window = (top * down, left * across, size[0] * down, size[1] * across)
    return image.crop((left, top, left + size[1], top + size[0])), window
