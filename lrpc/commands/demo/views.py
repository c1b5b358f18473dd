"""What the page of `lrpc demo` shows: pictures of detections and relevance, the sinks as bars."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageOps

from lrpc.commands.demo.explorer import Answer, Explorer, Found
from lrpc.commands.drawing import draw, render
from lrpc.commands.drawing.draw import number
from lrpc.commands.drawing.pictures import map_of, marks_of
from lrpc.commands.session.calls import Explained
from lrpc.results import colour

VIEWS = ("overlay", "map")
_FOOT = 0.08  # of a picture's height: room for its name


def detections(explorer: Explorer, found: Found, chosen: int | None) -> Image.Image:
    """The image with the boxes of all detections, and the name of the chosen one; enlarged by
    `scale`."""
    factor = scale(found)
    picture = render.enlarge(np.asarray(found.photo), factor)
    order = [n for n in range(len(found.boxes)) if n != chosen]
    for n in [*order, *([] if chosen is None else [chosen])]:  # the chosen one on top
        one = found.scene.found[n]
        name = f"{explorer.class_name(one.label)}  {one.score:.2f}"
        mask = one.original_mask if n == chosen else None
        label = name if n == chosen else str(n + 1)
        picture = render.Marks(label, found.boxes[n], mask).on(picture, factor)
    return picture


def scale(found: Found) -> int:
    """How many pixels of the picture of detections a pixel of the image is wide."""
    return render.enlargement(found.photo.height, found.photo.width)


def pictures(
    explorer: Explorer, found: Found, answer: Answer, view: str, percentile: float = 99.5
) -> list[tuple[Image.Image, str]]:
    """A picture of each composite, and its name; each has a colour scale of its own."""
    height, width = found.image.valid
    made = []
    for name, one in answer.found.items():
        values = map_of(one, found.image, 0.0)[:height, :width]
        strength = colour.robust_scale(values, percentile)
        if view == "map":
            picture = render.heatmap(values, strength)
        else:
            marks = marks_of(answer.seed, explorer.facts)
            picture = render.overlay(found.image.photo(), values, strength, marks)
        foot = (0, 0, 0, round(picture.height * _FOOT))
        made.append((ImageOps.expand(picture, foot, draw.PAPER), name))
    return made


def ledgers(answer: Answer) -> str:
    """The ledgers as HTML: a row for the start, for the image and for each sink, a column of bars
    for each composite, to one scale."""
    columns = {name: rows_of(one) for name, one in answer.found.items()}
    kinds = list(dict.fromkeys(kind for rows in columns.values() for kind in rows))
    amounts = [abs(v) for rows in columns.values() for v in rows.values() if math.isfinite(v)]
    largest = max(amounts, default=0.0) or 1.0
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(_row(kind, list(columns.values()), largest) for kind in kinds)
    return (
        "<table><caption>start = image + sinks</caption>"
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def rows_of(one: Explained) -> dict[str, float]:
    """The rows of one ledger: `start`, `image`, and the sinks by kind."""
    if one.ledger is None:
        return {}
    return {"start": one.ledger.start, "image": one.ledger.end, **one.ledger.sinks}


def _row(kind: str, columns: Sequence[Mapping[str, float]], largest: float) -> str:
    cells = "".join(f"<td>{_bar(rows.get(kind), largest)}</td>" for rows in columns)
    return f"<tr><th>{html.escape(kind)}</th>{cells}</tr>"


def _bar(amount: float | None, largest: float) -> str:
    """A bar to the right of the middle for what is positive, to the left for what is negative."""
    if amount is None:
        return ""
    wide = 50 * min(abs(amount) / largest, 1.0)
    left = 50 if amount >= 0 else 50 - wide
    sign = "for" if amount >= 0 else "against"
    return (
        f"<span class='number'>{number(amount)}</span><span class='bar'>"
        f"<i class='{sign}' style='left:{left:.2f}%;width:{wide:.2f}%'></i></span>"
    )
