"""One picture that sets heat maps of the same target side by side, each with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

from lrpc.commands.drawing import draw
from lrpc.commands.drawing.fonts import write
from lrpc.commands.drawing.render import Marks
from lrpc.program.protocol import Size
from lrpc.results.colour import Map, Pixels, colourise, robust_scale

_TILE = 400  # pixels that a tile is about wide and high
_ROW = 5  # tiles in a row at most


@dataclass(frozen=True, eq=False)
class Panel:
    """One heat map [H, W], in full colour at `scale`, and what is written below it."""

    title: str
    values: Map
    scale: float
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Words:
    """What stands above the tiles."""

    title: str = ""
    facts: str = ""
    warning: str = ""


def panel(title: str, values: Map, percentile: float = 99.5, facts: Sequence[str] = ()) -> Panel:
    """A panel in full colour at a percentile of its own strength."""
    return Panel(title, values, robust_scale(values, percentile), tuple(facts))


def sheet(
    photo: Pixels | None,
    panels: Sequence[Panel],
    marks: Marks,
    words: Words,
    visible: Size | None = None,
) -> Image.Image:
    """The photo where there is one, then every panel with legend and figures, in rows of five.

    Each panel has its own colour scale: composites differ in strength by orders of magnitude. All
    but the `visible` (height, width) at the top left, where that is given, is hatched as padding.
    """
    first = panels[0].values
    factor = _factor(*first.shape)
    wide, high = max(1, round(first.shape[1] * factor)), max(1, round(first.shape[0] * factor))
    text = 15
    tiles = []

    def ground(pixels: Pixels) -> Image.Image:
        tile = _scaled(pixels, (wide, high))
        return tile if visible is None else draw.hatch(tile, visible, factor)

    if photo is not None:
        tiles.append(_framed(replace(marks, mask=None).on(ground(photo), factor)))
    for one in panels:
        heat = ground(colourise(one.values, one.scale))
        tiles.append(_tile(one, replace(marks, mask=None, label="").on(heat, factor), text))
    columns = -(-len(tiles) // -(-len(tiles) // _ROW))  # rows of equal length
    gap, foot = round(text * 1.2), max(t.height for t in tiles)
    head = round(text * (5.4 if words.warning else 4.0)) if words.title else gap
    rows = -(-len(tiles) // columns)
    size = (columns * (wide + gap) + gap, head + rows * (foot + gap))
    page = Image.new("RGB", size, draw.PAPER)
    _head(page, words, text, gap)
    for n, tile in enumerate(tiles):
        page.paste(tile, (gap + n % columns * (wide + gap), head + n // columns * (foot + gap)))
    return page


def _factor(height: int, width: int) -> float:
    """An integer where the map is small, a fraction where it is larger than a tile."""
    side = max(height, width)
    return max(1, _TILE // side) if side <= _TILE else _TILE / side


def _scaled(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(pixels)
    larger = image.width <= size[0]
    return image.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.BOX)


def _tile(one: Panel, heat: Image.Image, text: int) -> Image.Image:
    """A heat map, and below it title, figures and legend."""
    wide, heat = heat.width, _framed(heat)
    strip = draw.legend(wide, one.scale, text)
    line, title = round(text * 1.35), round(text * 1.25)
    top = heat.height + round(text * 0.5)
    height = top + round(title * 1.5) + line * len(one.facts) + strip.height + text
    tile = Image.new("RGB", (heat.width, height), draw.PAPER)
    tile.paste(heat, (0, 0))
    pen = ImageDraw.Draw(tile)
    name = draw.shorten(one.title, title, wide)
    write(pen, (0, top), name, draw.INK, title)
    at = top + round(title * 1.5)
    for fact in one.facts:
        words = draw.shorten(fact, text, wide)
        write(pen, (0, at), words, draw.SOFT, text)
        at += line
    tile.paste(strip, (0, at + round(text * 0.4)))
    return tile


def _framed(tile: Image.Image) -> Image.Image:
    edge = [0, 0, tile.width - 1, tile.height - 1]
    ImageDraw.Draw(tile).rectangle(edge, outline=draw.FRAME)
    return tile


def _head(page: Image.Image, words: Words, text: int, gap: int) -> None:
    pen, width = ImageDraw.Draw(page), page.width - 2 * gap
    rows = [
        (words.title, round(text * 1.45), draw.INK, 0.8),
        (words.facts, text, draw.SOFT, 2.5),
        (words.warning, text, draw.ALARM, 3.9),
    ]
    for said, size, colour, at in rows:
        if said:
            fitting = draw.shorten(said, size, width)
            write(pen, (gap, text * at), fitting, colour, size)
