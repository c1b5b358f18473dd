"""The three pictures of one target: heatmap, overlay, and the panel that compares them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lrpc.commands.drawing import draw
from lrpc.commands.drawing.fonts import write
from lrpc.program.protocol import Box, Size
from lrpc.results.colour import Map, Pixels, blend, colourise

_LOW, _WIDE, _HIGH = 480, 840, 720  # a tile is at least _LOW high; in a panel at most the rest


@dataclass(frozen=True)
class Marks:
    """What the target points at, in pixels of the network's input."""

    label: str = ""
    box: Box | None = None
    mask: NDArray[np.bool_] | None = None  # [h, w]
    point: tuple[float, float] | None = None  # x, y

    def on(self, image: Image.Image, factor: float) -> Image.Image:
        """The image with the marks drawn in place: outline, box with its label, point."""
        if self.mask is not None and self.mask.any():
            draw.draw_outline(image, self.mask, factor)
        if self.box is not None:
            draw.draw_box(image, self.box, factor, self.label)
        if self.point is not None:
            draw.draw_point(image, *self.point, factor)
        return image


@dataclass(frozen=True)
class Caption:
    """The panel's words."""

    title: str
    facts: str
    heat: str = "relevance  ·  red for, blue against"
    warning: str = ""


def enlargement(height: int, width: int) -> int:
    """The integer factor that makes a small picture at least 480 pixels high (and not absurdly
    wide); 1 for a picture that is large enough."""
    return max(1, min(-(-_LOW // height), 3 * _WIDE // width))


def enlarge(pixels: Pixels, factor: int) -> Image.Image:
    """Every pixel as a `factor` × `factor` square."""
    image = Image.fromarray(pixels)
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST) if factor > 1 else image


def heatmap(values: Map, scale: float) -> Image.Image:
    """The signed map in colour with a legend strip below that prints the scale."""
    tile = enlarge(colourise(values, scale), enlargement(*values.shape))
    size = max(13, round(min(tile.size) / 32))
    strip = draw.legend(max(160, tile.width - 2 * size), scale, size)
    width = max(tile.width, strip.width) + 2
    sheet = Image.new("RGB", (width, tile.height + 2 + size + strip.height), draw.PAPER)
    left = (width - tile.width) // 2
    frame = [left - 1, 0, left + tile.width, tile.height + 1]
    ImageDraw.Draw(sheet).rectangle(frame, outline=draw.FRAME)
    sheet.paste(tile, (left, 1))
    sheet.paste(strip, ((width - strip.width) // 2, tile.height + 2 + size))
    return sheet


def overlay(photo: Pixels, values: Map, scale: float, marks: Marks) -> Image.Image:
    """The grey photo under the relevance, with box, outline and label."""
    factor = enlargement(*values.shape)
    return marks.on(enlarge(blend(photo, values, scale), factor), factor)


def panel(
    photo: Pixels,
    values: Map,
    scale: float,
    marks: Marks,
    caption: Caption,
    visible: Size | None = None,
) -> Image.Image:
    """Photo | heatmap | overlay side by side, with a title above and names and scale below; all but
    the `visible` (height, width) at the top left, where that is given, is hatched as padding."""
    factor = _tile_factor(*values.shape)
    box_only = Marks(marks.label, marks.box, None, marks.point)
    pictures = [photo, colourise(values, scale), blend(photo, values, scale)]
    tiles = [_scaled(pixels, factor) for pixels in pictures]
    if visible is not None:
        tiles = [draw.hatch(tile, visible, factor) for tile in tiles]
    tiles[0], tiles[2] = box_only.on(tiles[0], factor), marks.on(tiles[2], factor)
    names = ("image" if visible is None else draw.HATCHED, caption.heat, "overlay")
    wide, high = tiles[0].size
    text = max(14, round(high / 30))
    gap, head = round(text * 1.2), _head(caption, text)
    sheet = Image.new("RGB", (3 * wide + 4 * gap, head + high + 5 * text), draw.PAPER)
    _title(sheet, caption, text, gap)
    pen = ImageDraw.Draw(sheet)
    for n, (tile, name) in enumerate(zip(tiles, names, strict=True)):
        left = gap + n * (wide + gap)
        sheet.paste(tile, (left, head))
        pen.rectangle([left - 1, head - 1, left + wide, head + high], outline=draw.FRAME)
        words = draw.shorten(name, text, wide)
        write(pen, (left, head + high + text * 0.6), words, draw.SOFT, text)
    strip = draw.legend(wide, scale, text)
    sheet.paste(strip, (gap + wide + gap, head + high + round(text * 2)))
    return sheet


def _head(caption: Caption, text: int) -> int:
    """The height of the title block."""
    return round(text * (5.6 if caption.warning else 4.2))


def _title(sheet: Image.Image, caption: Caption, text: int, gap: int) -> None:
    """Title, facts and a warning where there is one, at the top left."""
    pen, width = ImageDraw.Draw(sheet), sheet.width - 2 * gap
    large = round(text * 1.45)
    rows = [(caption.title, large, draw.INK, 0.8), (caption.facts, text, draw.SOFT, 2.6)]
    if caption.warning:
        rows.append((caption.warning, text, draw.ALARM, 4.0))
    for words, size, colour, at in rows:
        fitting = draw.shorten(words, size, width)
        write(pen, (gap, text * at), fitting, colour, size)


def _tile_factor(height: int, width: int) -> float:
    """An integer where the picture is small, a fraction where it would not fit a page."""
    if height <= _HIGH and width <= _WIDE:
        return max(1, min(-(-_LOW // height), max(1, _WIDE // width)))
    return min(_HIGH / height, _WIDE / width)


def _scaled(pixels: Pixels, factor: float) -> Image.Image:
    """Enlarged by squares, or reduced by averaging."""
    if factor >= 1:
        return enlarge(pixels, int(factor))
    image = Image.fromarray(pixels)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BOX)
