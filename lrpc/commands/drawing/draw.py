"""Marks and text on pictures: boxes, mask outlines, points, labels and the colour legend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lrpc.commands.drawing.fonts import Colour, length, write
from lrpc.commands.drawing.fonts import font as font
from lrpc.program.protocol import Box, Size
from lrpc.results.colour import colourise

INK: Colour = (24, 26, 30)
SOFT: Colour = (98, 104, 114)
FRAME: Colour = (200, 204, 210)
PAPER: Colour = (255, 255, 255)
MARK: Colour = (255, 208, 0)  # neither arm of the colour map comes near it
ALARM: Colour = (176, 0, 32)
HATCHED = "image  ·  hatched: padding"


def shorten(text: str, size: int, width: int) -> str:
    """The text, cut with '...' where it would pass `width` pixels."""
    if length(text, size) <= width:
        return text
    while text and length(text + "...", size) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def draw_box(image: Image.Image, box: Box, factor: float, label: str = "") -> None:
    """Outline a box (network pixels, `factor` picture pixels each), in place, and name it.

    The line lies just outside the box's pixels where there is room, so it hides none of them; a
    dark hairline on both sides keeps it visible on any ground.
    """
    width = line_width(image)
    x0, y0, x1, y1 = (round(edge * factor) for edge in box)
    right, bottom = image.width - 1, image.height - 1
    outer = [max(0, x0 - width), max(0, y0 - width), x1 + width - 1, y1 + width - 1]
    outer = [outer[0], outer[1], min(right, max(outer[2], 0)), min(bottom, max(outer[3], 0))]
    outer = [min(outer[0], outer[2]), min(outer[1], outer[3]), outer[2], outer[3]]
    pen = ImageDraw.Draw(image)
    pen.rectangle([outer[0] - 1, outer[1] - 1, outer[2] + 1, outer[3] + 1], outline=INK)
    pen.rectangle(outer, outline=MARK, width=width)
    if label:
        _tag(image, label, outer)


def line_width(image: Image.Image) -> int:
    """A line that reads at the picture's size: 2 pixels up to 600 of height, then in proportion."""
    return max(2, round(min(image.size) / 300))


def _tag(image: Image.Image, label: str, outer: list[int]) -> None:
    """A filled tag above the box, below it where there is no room, inside it at last."""
    size = max(13, round(min(image.size) / 32))
    label = shorten(label, size, image.width - 12)
    wide, high = round(length(label, size)) + 10, round(size * 1.4)
    left = max(0, min(outer[0], image.width - wide))
    if outer[1] - high >= 0:
        top = outer[1] - high
    elif outer[3] + 1 + high <= image.height:
        top = outer[3] + 1
    else:
        top = outer[1]
    pen = ImageDraw.Draw(image)
    pen.rectangle([left, top, left + wide - 1, top + high - 1], fill=MARK)
    write(pen, (left + 5, top + high / 2), label, INK, size, "lm")


def draw_outline(image: Image.Image, mask: NDArray[np.bool_], factor: float) -> None:
    """Trace a mask [h, w] (network pixels) in place, just outside it, so that it hides nothing."""
    size = (round(mask.shape[1] * factor), round(mask.shape[0] * factor))
    large = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    inside = np.zeros((image.height, image.width), dtype=bool)
    large = large[: image.height, : image.width]
    inside[: large.shape[0], : large.shape[1]] = large
    around = inside
    for _ in range(max(1, line_width(image) - 1)):
        around = _dilate(around)
    pixels = np.array(image)
    pixels[around & ~inside] = MARK
    image.paste(Image.fromarray(pixels))


def _dilate(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and the pixels that touch it by an edge."""
    padded = np.pad(mask, 1)
    return padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:] | mask


def hatch(image: Image.Image, visible: Size, factor: float) -> Image.Image:
    """The image with lines over all but the `visible` (height, width) at its top left, in network
    pixels: dark beside light, to be seen on any ground."""
    height, width = (round(edge * factor) for edge in visible)
    pixels = np.array(image)
    y, x = np.indices(pixels.shape[:2])
    outside, wide = (y >= height) | (x >= width), line_width(image) // 2
    place = (x + y) % max(8, round(min(image.size) / 40))
    pixels[outside & (place < wide)] = SOFT
    pixels[outside & (place >= wide) & (place < 2 * wide)] = PAPER
    return Image.fromarray(pixels)


def draw_point(image: Image.Image, x: float, y: float, factor: float) -> None:
    """Ring the point (x, y) in network pixels, in place."""
    width, reach = line_width(image), max(7, round(min(image.size) / 60))
    cx, cy = x * factor, y * factor
    pen = ImageDraw.Draw(image)
    for grow, colour, line in ((1, INK, width + 2), (0, MARK, width)):
        r = reach + grow
        pen.ellipse([cx - r, cy - r, cx + r, cy + r], outline=colour, width=line)


def legend(width: int, scale: float, size: int) -> Image.Image:
    """A colour bar `width` pixels wide with -scale, 0 and +scale under it; `size` is the text's."""
    bar = size
    image = Image.new("RGB", (width, bar + round(size * 1.7)), PAPER)
    ramp = np.linspace(-1.0, 1.0, width)[None].repeat(bar, axis=0)
    image.paste(Image.fromarray(colourise(ramp, 1.0)), (0, 0))
    pen = ImageDraw.Draw(image)
    pen.rectangle([0, 0, width - 1, bar - 1], outline=FRAME)
    edge = number(scale)
    low, high = ("0", "0") if scale == 0 else (f"-{edge}", f"+{edge}")
    y = bar + size * 0.35
    write(pen, (0, y), low, INK, size, "lt")
    write(pen, (width / 2, y), "0", INK, size, "mt")
    write(pen, (width - 1, y), high, INK, size, "rt")
    return image


def totals(end: float, start: float | None, shared: float | None = None) -> str:
    """What relevance adds up to where it starts and in what all classes share, if that is known,
    and at the image."""
    first = "" if start is None else f"{number(start)} at the target, "
    first += "" if shared is None else f"{number(shared)} shared by all classes, "
    return f"relevance {first}{number(end)} at the image"


def number(value: float) -> str:
    """Three significant digits, plain where that is short."""
    return f"{value:.3g}"
