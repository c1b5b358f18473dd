"""One target of a job's results: its row, its map, its pictures."""

from __future__ import annotations

import base64
import html
import importlib
import io
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lrpc.results import colour, figure, waterfall
from lrpc.results.maps import Map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lrpc.results.opened import Results

_SHOWN = ("name", "target", "class_name", "score", "value", "composite", "positive_share")
_WIDE = 480  # pixels of a picture in a notebook


class Target:
    """One target under one composite: `row` has its numbers, by the columns of
    `lrpc.results.schema.TARGETS`; `number` is its place in the table."""

    def __init__(self, results: Results, number: int, row: dict[str, Any]) -> None:
        self.results, self.number, self.row = results, number, row

    def __repr__(self) -> str:
        return f"<{self.row['name']} {self.row['slug']} {self.row['composite']}>"

    @cached_property
    def map(self) -> Map:
        """Its relevance at the size that the network sees, float32 [h, w]."""
        return self.results.map(self.row)

    @cached_property
    def original_map(self) -> Map:
        """Its relevance at the size of the image on disk, float32 [h, w]; the sum is kept."""
        return self.results.map(self.row, original=True)

    @property
    def layers(self) -> dict[str, NDArray[Any]]:
        """Relevance at the places that were read: maps [h, w] of the network's input, queries
        [N]."""
        return self.results.layers(self.row)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """The mask of its object, bool [h, w] of the image on disk; None without one."""
        return self.results.mask(self.row)

    @property
    def photo(self) -> Image.Image:
        """The image on disk, RGB, upright."""
        return self.results.photo(self.row["image"])

    @property
    def box(self) -> tuple[float, float, float, float] | None:
        """The box of its object (x0, y0, x1, y1), in pixels of the image on disk."""
        if self.row["x0"] is None:
            return None
        x0, y0, x1, y1 = (self.row[edge] for edge in ("x0", "y0", "x1", "y1"))
        return x0, y0, x1, y1

    @property
    def title(self) -> str:
        """The target in words."""
        row = self.row
        name = row["class_name"] or ("" if row["class"] is None else f"class {row['class']}")
        score = "" if row["score"] is None else f"{row['score']:.2f}"
        parts = (f"{name} {score}".strip(), row["slug"], row["composite"])
        return " · ".join(part for part in parts if part)

    def picture(self, percentile: float = 99.5) -> Image.Image:
        """The image in grey under its relevance, with the box; in full colour from that percentile
        of |relevance| on."""
        values = self.original_map.astype(np.float64)
        scale = colour.robust_scale(values, percentile)
        image = Image.fromarray(colour.blend(np.asarray(self.photo), values, scale))
        if self.box is not None:
            width = max(1, round(min(image.size) / 160))
            ImageDraw.Draw(image).rectangle(self.box, outline=(20, 20, 20), width=width)
        return image

    def plot(
        self, axes: Axes | None = None, cmap: str | None = None, percentile: float = 99.5
    ) -> Axes:
        """Draw it with matplotlib, on given axes or in a figure of its own; returns the axes.

        `cmap` is the name of one of matplotlib's colour maps (default: blue, white, red).
        """
        if axes is None:
            pyplot = importlib.import_module("matplotlib.pyplot")
            axes = pyplot.subplots(layout="constrained")[1]
        drawn: Axes = figure.draw(self, axes, cmap, percentile)
        return drawn

    def save(
        self,
        path: str | Path,
        width: float = 4.0,
        dpi: float = 200,
        cmap: str | None = None,
        percentile: float = 99.5,
    ) -> None:
        """Write its figure as PNG, PDF, SVG, JPEG or WebP, `width` inches wide. Raises
        ProgramError."""
        figure.save(figure.figure(self, width, cmap, percentile), Path(path), dpi)

    def waterfall(self, axes: Axes | None = None) -> Axes:
        """Draw how relevance comes from the target to the image, part by part of the model; returns
        the axes. Raises ProgramError where there is no ledger."""
        if axes is None:
            pyplot = importlib.import_module("matplotlib.pyplot")
            axes = pyplot.subplots(layout="constrained")[1]
        drawn: Axes = waterfall.draw(self.title, waterfall.of_row(self.row), axes)
        return drawn

    @property
    def account(self) -> str:
        """The same as text, of at most 80 columns."""
        return waterfall.text(self.title, waterfall.of_row(self.row))

    def _repr_html_(self) -> str:
        picture = self.picture()
        picture.thumbnail((_WIDE, _WIDE))
        larger = max(1, _WIDE // max(picture.size))
        size = (larger * picture.width, larger * picture.height)
        picture = picture.resize(size, Image.Resampling.NEAREST)
        data = io.BytesIO()
        picture.save(data, format="PNG")
        source = base64.b64encode(data.getvalue()).decode()
        cells = "".join(
            f"<tr><th style='text-align:left'>{key}</th><td>{html.escape(str(self.row[key]))}</td>"
            for key in _SHOWN
            if self.row[key] is not None
        )
        return (
            f"<div style='display:flex;gap:1em'><img src='data:image/png;base64,{source}'>"
            f"<table>{cells}</table></div>"
        )
