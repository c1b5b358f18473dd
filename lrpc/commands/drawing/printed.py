"""The panel of a target as a figure for print: the same pictures, with text that stays text."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lrpc.commands.drawing import draw
from lrpc.commands.drawing.render import Caption, Marks
from lrpc.program.protocol import Size
from lrpc.results import figure
from lrpc.results.colour import Map, Pixels, blend, colourise

WIDTH = 7.0  # inches: a page's two columns
_PER_EM = 0.56  # width of a character of the mean text, in its size
_GAP = 0.08  # inches between tiles


@dataclass(frozen=True, eq=False)
class Panel:
    """What a panel shows: the photo and the map [H, W] of the network's input, in full colour at
    `scale`, its marks and words; all but the `visible` (height, width) is hatched as padding."""

    photo: Pixels
    values: Map
    scale: float
    marks: Marks
    caption: Caption
    visible: Size | None = None


@dataclass(frozen=True)
class _Page:
    """Sizes in inches, and of text in points."""

    width: float
    text: float
    tile: tuple[float, float]  # height, width
    head: tuple[tuple[str, float, Any], ...]  # lines above: words, size, colour
    names: tuple[str, ...]

    @property
    def top(self) -> float:
        return sum(1.35 * size for _, size, _ in self.head) / 72 + _GAP

    @property
    def below(self) -> float:
        return (1.5 * max(map(_lines, self.names)) + 3.2) * self.text / 72 + _GAP

    @property
    def height(self) -> float:
        return self.top + self.tile[0] + self.below


def write(one: Panel, path: Path, width: float, dpi: float, font: Path | None = None) -> None:
    """Write a panel, `width` inches wide; its format is the file's ending. Raises ProgramError."""
    with figure.fonts(font):
        figure.save(drawn(one, width), path, dpi)


def drawn(one: Panel, width: float) -> Any:
    """The panel as a figure of matplotlib."""
    page = _page(one, width)
    made = figure.blank(width, page.height)
    y = page.height - _GAP / 2
    for words, size, colour in page.head:
        y -= 1.35 * size / 72
        at = (_GAP / width, (y + 0.3 * size / 72) / page.height)
        made.text(*at, words, size=size, color=colour, parse_math=False)
    box_only = replace(one.marks, mask=None)
    grey = blend(one.photo, one.values, one.scale)
    tiles = (one.photo, colourise(one.values, one.scale), grey)
    for n, (pixels, marks) in enumerate(zip(tiles, (box_only, Marks(), one.marks), strict=True)):
        left = _GAP + n * (page.tile[1] + _GAP)
        place = (left / width, page.below / page.height)
        share = (page.tile[1] / width, page.tile[0] / page.height)
        axes = made.add_axes((*place, *share))
        _tile(axes, pixels, marks, one.visible, page.text)
        gap = 0.5 * page.text / 72 / page.tile[0]
        style = {"size": page.text, "color": _of(draw.SOFT), "va": "top", "parse_math": False}
        axes.text(0, -gap, page.names[n], transform=axes.transAxes, **style)
        if n == 1:
            _legend(made, place[0], share[0], one.scale, page)
    return made


def _page(one: Panel, width: float) -> _Page:
    """The sizes of a page on which all words fit."""
    text = min(8.0, max(5.0, width))
    wide = (width - 4 * _GAP) / 3
    high = wide * one.values.shape[0] / one.values.shape[1]
    said = one.caption
    head = []
    for words, size, colour in (
        (said.title, 1.25 * text, draw.INK),
        (said.facts, text, draw.SOFT),
        (said.warning, text, draw.ALARM),
    ):
        fitting = _wrapped(words, width - 2 * _GAP, size)
        head += [(line, size, _of(colour)) for line in fitting]
    names = ("image" if one.visible is None else draw.HATCHED, said.heat, "overlay")
    lines = tuple("\n".join(_wrapped(name, wide, text)) for name in names)
    return _Page(width, text, (high, wide), tuple(head), lines)


def _tile(axes: Any, pixels: Pixels, marks: Marks, visible: Size | None, text: float) -> None:
    """One picture with its marks, in pixels of the network's input."""
    height, width = pixels.shape[:2]
    edges = (0, width, height, 0)
    axes.imshow(pixels, extent=edges, interpolation="none")
    shapes = figure.module("matplotlib.patches")
    plain: dict[str, Any] = {"fill": False, "edgecolor": _of(draw.SOFT), "linewidth": 0}
    if visible is not None:
        down, across = visible
        for x, y, w, h in ((0, down, width, height - down), (across, 0, width - across, down)):
            axes.add_patch(shapes.Rectangle((x, y), w, h, hatch="////", **plain))
    if marks.mask is not None and marks.mask.any():
        around = np.pad(marks.mask.astype(float), 1)
        rows, columns = (np.arange(-1, n + 1) + 0.5 for n in marks.mask.shape)
        axes.contour(columns, rows, around, levels=[0.5], colors=[_of(draw.MARK)], linewidths=0.8)
    if marks.box is not None:
        x0, y0, x1, y1 = marks.box
        for colour, line in ((draw.INK, 1.8), (draw.MARK, 1.0)):
            edge = {"fill": False, "edgecolor": _of(colour), "linewidth": line}
            axes.add_patch(shapes.Rectangle((x0, y0), x1 - x0, y1 - y0, **edge))
        ground = {"facecolor": _of(draw.MARK), "linewidth": 0, "pad": 1.2}
        above = y0 > 0.08 * height
        style = {"size": 0.9 * text, "color": _of(draw.INK), "bbox": ground, "clip_on": True}
        right = x0 > 0.6 * width
        place = (min(x1, width) if right else max(x0, 0), y0 - 0.02 * height if above else y1)
        sides = {"ha": "right" if right else "left", "va": "bottom" if above else "top"}
        axes.text(*place, marks.label, parse_math=False, **style, **sides)
    if marks.point is not None:
        for colour, line in ((draw.INK, 1.8), (draw.MARK, 1.0)):
            edge = {"fill": False, "edgecolor": _of(colour), "linewidth": line}
            axes.add_patch(shapes.Circle(marks.point, max(height, width) / 60, **edge))
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=(), yticks=())
    for spine in axes.spines.values():
        spine.set(color=_of(draw.FRAME), linewidth=0.5)


def _legend(made: Any, left: float, width: float, scale: float, page: _Page) -> None:
    """The colour bar under the heat map, with -scale, 0 and +scale."""
    top = page.below - 1.5 * _lines(page.names[1]) * page.text / 72 - _GAP / 2
    high = 0.7 * page.text / 72
    axes = made.add_axes((left, (top - high) / page.height, width, high / page.height))
    ramp = np.linspace(-1, 1, 256)[None]
    axes.imshow(colourise(ramp, 1.0), extent=(-1, 1, 0, 1), aspect="auto", interpolation="none")
    axes.set(yticks=(), xticks=(-1, 0, 1))
    labels = axes.set_xticklabels([draw.number(-scale), "0", f"+{draw.number(scale)}"])
    for label, side in zip(labels, ("left", "center", "right"), strict=True):
        label.set_horizontalalignment(side)
    axes.tick_params(length=1.5, pad=1, labelsize=0.9 * page.text, labelcolor=_of(draw.SOFT))
    for spine in axes.spines.values():
        spine.set(color=_of(draw.FRAME), linewidth=0.5)


def _wrapped(words: str, width: float, size: float) -> list[str]:
    """Lines of at most so many inches, in text of a size in points."""
    return textwrap.wrap(words, max(8, int(width * 72 / (_PER_EM * size))))


def _lines(words: str) -> int:
    return words.count("\n") + 1


def _of(colour: tuple[int, int, int]) -> tuple[float, ...]:
    """A colour as matplotlib takes it."""
    return tuple(part / 255 for part in colour)
