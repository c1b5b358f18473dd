"""Images from disk to the network's input: found, read upright, resized, padded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lrpc.errors import ImageError
from lrpc.run.protocol import Size

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_DEEP_MODES = (
    "I",
    "F",
    "I;16",
    "I;16B",
    "I;16L",
    "I;16N",
)  # Pillow would clip these, not scale them


@dataclass(frozen=True)
class Sizing:
    """How images meet the program: detectron2's two test sizes, and the shapes compiled for.

    `shortest` is `INPUT.MIN_SIZE_TEST` (0: never resize except to fit), `longest` is
    `INPUT.MAX_SIZE_TEST`, `shapes` are (H, W) and not empty, `mean` is the pixel mean (RGB).
    """

    shapes: tuple[Size, ...]
    shortest: int
    longest: int
    mean: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """An image as the program takes it: `pixels` f32[3, H, W] in 0–255, RGB, padded with the mean.

    `valid` is the (h, w) at the top left that holds the image, `original` its size on disk.
    """

    path: Path
    pixels: Tensor
    valid: Size
    original: Size

    @property
    def frame(self) -> Size:
        """The compiled (H, W)."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])

    def photo(self) -> NDArray[np.uint8]:
        """The visible part, uint8 [h, w, 3]."""
        height, width = self.valid
        visible = self.pixels[:, :height, :width].permute(1, 2, 0)
        return visible.round().clamp(0, 255).to(torch.uint8).numpy()


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Every image file named, and those directly inside each folder named, each once.

    Folders are listed in name order and by known suffix; a file named outright is taken whatever
    its suffix. Raises ImageError where a path does not exist or a folder holds no image.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            inside = [p for p in inside if p.is_file() and not p.name.startswith(".")]
            if not inside:
                raise ImageError(f"{path}: no image in this folder (known: {' '.join(SUFFIXES)})")
        elif path.exists():
            inside = [path]
        else:
            raise ImageError(f"{path}: no such file or folder")
        for item in inside:
            found.setdefault(item.resolve(), item)
    return list(found.values())


def read_rgb(path: Path) -> Image.Image:
    """The image as RGB, turned upright by its EXIF orientation.

    Raises ImageError with one line for what is not an image, is cut short or corrupt, is too large
    for Pillow's limit, or has more than 8 bits per channel.
    """
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")  # large or odd files: what matters raises below
            if image.mode in _DEEP_MODES:
                raise ImageError(f"{path}: {image.mode} pixels; convert it to 8 bits per channel")
            image.load()
            return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image that Pillow can read") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: too many pixels; scale it down first") from error
    except (OSError, SyntaxError, ValueError, IndexError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{path}: corrupt or cut short ({reason})") from error


def shortest_edge(size: Size, shortest: int, longest: int) -> Size:
    """detectron2's test size: the shorter edge becomes `shortest`, unless the longer would pass
    `longest`; `shortest` 0 leaves the size alone."""
    if shortest <= 0:
        return size
    height, width = (float(edge) for edge in size)
    scale = shortest / min(height, width)
    if longest > 0 and max(height, width) * scale > longest:
        scale = longest / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def fit(original: Size, sizing: Sizing) -> tuple[Size, Size]:
    """The compiled shape that suits an image best, and the size the image takes inside it.

    An image of exactly a compiled size keeps its pixels. Otherwise it takes its detectron2 size,
    shrunk where that does not fit; the shape that shows it largest wins, then the smallest shape.
    """
    if original in sizing.shapes:
        return original, original
    wanted = shortest_edge(original, sizing.shortest, sizing.longest)
    choices = [(shape, _within(original, wanted, shape)) for shape in sizing.shapes]
    return max(choices, key=lambda c: (c[1][0] * c[1][1], -c[0][0] * c[0][1]))


def _within(original: Size, wanted: Size, frame: Size) -> Size:
    """`wanted` where it fits in `frame`, otherwise the largest size of the original's aspect ratio
    that does."""
    if wanted[0] <= frame[0] and wanted[1] <= frame[1]:
        return wanted
    scale = min(frame[0] / original[0], frame[1] / original[1])
    height, width = (max(1, int(edge * scale + 0.5)) for edge in original)
    return min(height, frame[0]), min(width, frame[1])


def load_image(path: Path, sizing: Sizing) -> LoadedImage:
    """Read, resize (Pillow bilinear, as detectron2 does) and pad one image at bottom and right.

    The padding is the pixel mean: the released code pads with zeros *after* normalisation.
    Raises ImageError as `read_rgb` does.
    """
    image = read_rgb(path)
    original = (image.height, image.width)
    frame, valid = fit(original, sizing)
    if valid != original:
        image = image.resize((valid[1], valid[0]), Image.Resampling.BILINEAR)
    pixels = torch.tensor(sizing.mean, dtype=torch.float32)[:, None, None].repeat(1, *frame)
    pixels[:, : valid[0], : valid[1]] = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return LoadedImage(path, pixels, valid, original)
