"""One picture of what a query looks at: sampling points by level, and the queries it attends to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lrpc.commands.drawing import draw
from lrpc.commands.drawing.fonts import Colour, write
from lrpc.commands.drawing.segments import colour_of
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.looks import Look, write_looks
from lrpc.commands.session.units import shortened
from lrpc.program.attention import Attention
from lrpc.results.colour import Pixels
from lrpc.support.files import complete

_TILE = 420  # pixels that a tile is about wide and high
_COLUMNS = 3
_MOST = 8  # attended queries that are drawn
_TEXT = 14
_IN_A_ROW = 3  # levels in the legend


def written_looks(stem: Path, found: Sequence[Look], image: LoadedImage) -> dict[str, Any]:
    """Write `STEM.qQ.attention.png` for each query and `STEM.attention.safetensors`; what the
    record says of them, nothing where there are none."""
    if not found:
        return {}
    tensors = stem.with_name(f"{stem.name}.attention.safetensors")
    write_looks(tensors, image, found)
    files = []
    for look in found:
        path = stem.with_name(f"{stem.name}.q{look.query}.attention.png")
        with complete(path) as part:
            picture(look, image.whole()).save(part, format="PNG")
        files.append({"query": look.query, "file": path.name})
    return {"attention": {"tensors": tensors.name, "queries": files}}


def picture(look: Look, photo: Pixels) -> Image.Image:
    """A tile for each attention: the grey photo under sampling points or attended boxes."""
    tiles = [_tile(name, one, look, photo) for name, one in look.attentions.items()]
    columns = min(_COLUMNS, len(tiles))
    rows, gap = -(-len(tiles) // columns), _TEXT
    wide, high = tiles[0].size
    head = round(_TEXT * 2.6)
    page = Image.new("RGB", (columns * (wide + gap) + gap, head + rows * (high + gap)), draw.PAPER)
    title = f"query {look.query}: weights of attention, larger and darker is more"
    write(ImageDraw.Draw(page), (gap, _TEXT * 0.7), title, draw.INK, round(_TEXT * 1.2))
    for n, tile in enumerate(tiles):
        at = (gap + n % columns * (wide + gap), head + n // columns * (high + gap))
        page.paste(tile, at)
    return page


def _tile(name: str, one: Attention, look: Look, photo: Pixels) -> Image.Image:
    side = max(photo.shape[:2])
    factor = _TILE // side if side < _TILE else _TILE / side
    grey = photo.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    light = np.repeat((128 + grey * (127 / 255))[..., None], 3, 2).round().astype(np.uint8)
    size = (round(photo.shape[1] * factor), round(photo.shape[0] * factor))
    image = Image.fromarray(light).resize(size, Image.Resampling.BILINEAR)
    legend: list[tuple[str, Colour]] = []
    if one.points is not None:
        legend = _points(image, one)
    else:
        legend = [(_attended(image, one, look, factor), draw.SOFT)]
    if look.box is not None:
        draw.draw_box(image, look.box, factor)
    tile = Image.new("RGB", (image.width, image.height + round(_TEXT * 4.6)), draw.PAPER)
    tile.paste(image, (0, 0))
    pen, top = ImageDraw.Draw(tile), image.height + _TEXT * 0.4
    words = draw.shorten(shortened(name, 40), _TEXT, image.width)
    write(pen, (0, top), words, draw.INK, _TEXT)
    for n, (said, colour) in enumerate(legend):
        left = n % _IN_A_ROW * image.width / _IN_A_ROW
        write(pen, (left, top + _TEXT * 1.4 * (1 + n // _IN_A_ROW)), said, colour, _TEXT)
    return tile


def _points(image: Image.Image, one: Attention) -> list[tuple[str, Colour]]:
    """Every sampling point as a dot, by level in a colour of its own; the levels' legend."""
    assert one.points is not None
    weights = one.weights[0, 0].double().cpu().numpy()  # [heads, L, P]
    points = one.points[0, 0].double().cpu().numpy()
    strongest = float(weights.max()) or 1.0
    pen = ImageDraw.Draw(image)
    order = np.argsort(weights, axis=None)  # the strongest on top
    for head, level, point in zip(*np.unravel_index(order, weights.shape), strict=True):
        share = float(weights[head, level, point]) / strongest
        x, y = points[head, level, point] * image.size
        radius = 1.0 + 5.0 * share**0.5
        pen.ellipse(
            [x - radius, y - radius, x + radius, y + radius], fill=_faded(int(level), share)
        )
    shares = weights.sum((0, 2)) / weights.sum()
    return [
        (f"{height}×{width}: {share:.0%}", colour_of(level + 1))
        for level, ((height, width), share) in enumerate(zip(one.levels, shares, strict=True))
    ]


def _faded(level: int, share: float) -> Colour:
    """A level's colour, lighter the less the weight is."""
    red, green, blue = (round(c + (255 - c) * 0.7 * (1 - share)) for c in colour_of(level + 1))
    return red, green, blue


def _attended(image: Image.Image, one: Attention, look: Look, factor: float) -> str:
    """The boxes of the queries with the largest weights, heads averaged; which they are."""
    weights = one.weights[0, :, 0].mean(0)  # [Q]
    pen, strongest = ImageDraw.Draw(image), float(weights.max())
    most = weights.topk(min(_MOST, len(weights))).indices.tolist()
    for query in reversed(most if look.boxes else []):
        share = float(weights[query]) / strongest
        corners = [edge * factor for edge in look.boxes[query]]
        colour = _faded(0, share)
        pen.rectangle(corners, outline=colour, width=1 + round(3 * share))
    return "queries " + ", ".join(f"{q} ({float(weights[q]):.2f})" for q in most[:4])
