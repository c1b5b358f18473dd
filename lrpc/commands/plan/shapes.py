"""Shapes of a picture, and how they become SVG or pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image, ImageDraw

from lrpc.commands.drawing.fonts import length, write

FONT = "'Open Sans', 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
SCALE = 2  # pixels of a PNG for each unit


@dataclass(frozen=True, slots=True)
class Area:
    """A filled polygon; `title` is shown by viewers that hover."""

    points: tuple[tuple[float, float], ...]
    fill: str
    edge: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line."""

    points: tuple[tuple[float, float], tuple[float, float]]
    colour: str
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Label:
    """Text at its baseline; `anchor` is `start`, `middle` or `end`."""

    x: float
    y: float
    text: str
    size: float
    colour: str
    anchor: str = "start"
    bold: bool = False


Shape = Area | Line | Label


def rectangle(
    x: float, y: float, width: float, height: float, fill: str, edge: str = "", title: str = ""
) -> Area:
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return Area(corners, fill, edge, title)


def wide(text: str, size: float) -> float:
    """About how wide a text is."""
    return length(text, round(size * SCALE)) / SCALE


def to_svg(shapes: Sequence[Shape], width: int, height: int) -> str:
    """The shapes as an SVG file: plain text, no scripts, fonts or other files."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{escape(FONT)}">'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, ground, *map(_svg, shapes), "</svg>"]) + "\n"


def _svg(shape: Shape) -> str:
    if isinstance(shape, Label):
        bold = ' font-weight="600"' if shape.bold else ""
        return (
            f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}"'
            f' fill="{shape.colour}" text-anchor="{shape.anchor}"{bold}>{escape(shape.text)}</text>'
        )
    if isinstance(shape, Line):
        (x0, y0), (x1, y1) = shape.points
        return (
            f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{shape.colour}"'
            f' stroke-width="{shape.width:g}"/>'
        )
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in shape.points)
    edge = f' stroke="{shape.edge}" stroke-width="0.4"' if shape.edge else ""
    title = f"<title>{escape(shape.title)}</title>" if shape.title else ""
    return f'<path d="M{path}Z" fill="{shape.fill}"{edge}>{title}</path>'


def to_image(shapes: Sequence[Shape], width: int, height: int) -> Image.Image:
    """The shapes as a picture of SCALE pixels a unit."""
    image = Image.new("RGB", (width * SCALE, height * SCALE), "#ffffff")
    pen = ImageDraw.Draw(image)
    for shape in shapes:
        if isinstance(shape, Label):
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
            place = (shape.x * SCALE, shape.y * SCALE)
            stroke = 0.5 if shape.bold else 0
            write(pen, place, shape.text, shape.colour, round(shape.size * SCALE), anchor, stroke)
            continue
        points = [(x * SCALE, y * SCALE) for x, y in shape.points]
        if isinstance(shape, Line):
            pen.line(points, shape.colour, round(shape.width * SCALE))
        else:
            pen.polygon(points, shape.fill, shape.edge or None)
    return image
