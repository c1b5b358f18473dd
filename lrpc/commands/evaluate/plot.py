"""`curves.png` and `curves.svg`: deletion and insertion curves, and the figures beside them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrpc.commands.evaluate.frontier import STYLE
from lrpc.commands.evaluate.intervals import Mean
from lrpc.commands.evaluate.perturb import Curve
from lrpc.commands.evaluate.results import Results
from lrpc.commands.evaluate.settings import Protocol
from lrpc.errors import LrpcError
from lrpc.support.files import complete

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GRID = np.linspace(0.0, 1.0, 201)
#: Okabe & Ito's colours, told apart by colour-blind readers too; then other line styles.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")
_CURVES = (("deletion", "removed"), ("insertion", "inserted"))


class MissingExtra(LrpcError):
    """A package of an optional extra that is not installed."""


def need_matplotlib() -> None:
    """Raise MissingExtra where the curves cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra(
            "curves.png needs matplotlib, of the extra 'evaluate': pip install 'lrpc[evaluate]', "
            "or leave the pictures out with --no-plot"
        )


def write_curves(folder: Path, results: Results) -> None:
    """Draw both curves and the areas, each picture whole or not at all."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with rc_context({**STYLE, "font.size": 9}):
        figure = draw(results)
        FigureCanvasAgg(figure)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            with complete(folder / f"curves.{kind}") as part:
                figure.savefig(part, format=kind, dpi=160, metadata=metadata)


def draw(results: Results) -> Figure:
    """Deletion and insertion curves side by side, ABPC as bars on the right; a row for each
    protocol."""
    from matplotlib.figure import Figure

    methods, protocols = results.methods(), results.protocols()
    height = max(3.8, 1.6 + 0.34 * len(methods)) * len(protocols)
    figure = Figure(figsize=(12.5, height), layout="constrained")
    grid = figure.subplots(len(protocols), 3, squeeze=False, width_ratios=(1, 1, 0.85))
    for axes, protocol in zip(grid, protocols, strict=True):
        _row(axes, results, protocol, protocol.name if len(protocols) > 1 else "")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    columns = -(-len(labels) // -(-len(labels) // 6))  # rows of six or fewer, as even as can be
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _row(axes: Sequence[Axes], results: Results, protocol: Protocol, label: str) -> None:
    """Both curves and the bars under one protocol."""
    for axis, (name, words) in zip(axes, _CURVES, strict=False):
        for number, method in enumerate(results.methods()):
            rows = [r for r in results.rows if (r.method, r.protocol) == (method, protocol)]
            _band(axis, [getattr(row, name) for row in rows], method, number)
        title = f"{name} ({label})" if label else name
        axis.set(
            xlim=(0, 1), xlabel=f"share of the image {words}, most relevant first", title=title
        )
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25, linewidth=0.6)
    axes[0].set_ylabel("score of the object ÷ score in the whole image")
    _bars(axes[2], results, protocol)


def average(curves: Sequence[Curve]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard error on a common grid of 201 fractions, curves interpolated linearly."""
    values = np.stack([np.interp(_GRID, c.fractions, c.scores) for c in curves])
    spread = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0 * values[0]
    return values.mean(0), spread


def _style(number: int) -> tuple[str, str]:
    return _COLOURS[number % len(_COLOURS)], _STYLES[number // len(_COLOURS) % len(_STYLES)]


def _band(axis: Axes, curves: Sequence[Curve], label: str, number: int) -> None:
    """A mean curve in its standard error."""
    centre, spread = average(curves)
    colour, style = _style(number)
    label = f" {label}" if label.startswith("_") else label  # which matplotlib would leave out
    axis.plot(_GRID, centre, color=colour, linestyle=style, label=label, linewidth=1.6)
    axis.fill_between(
        _GRID, centre - spread, centre + spread, color=colour, alpha=0.12, linewidth=0
    )


def _bars(axis: Axes, results: Results, protocol: Protocol) -> None:
    """ABPC of every method with its standard error, first on top, the figure at the bar's end."""
    means: dict[str, Mean] = {m: found["abpc"] for m, found in results.summary(protocol).items()}
    places = range(len(means))
    values = [one.mean for one in means.values()]
    errors = [one.error or 0.0 for one in means.values()]
    axis.barh(
        places,
        values,
        xerr=errors,
        color=[_style(n)[0] for n in places],
        height=0.66,
        error_kw={"elinewidth": 1, "ecolor": "#444444"},
    )
    for place, value, error in zip(places, values, errors, strict=True):
        axis.annotate(
            f"{value:.3f}",
            (max(value, 0) + error, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.set_yticks(places, list(means))
    axis.invert_yaxis()
    axis.axvline(0, color="#444444", linewidth=0.8)
    axis.margins(x=0.18)
    axis.set(title="insertion − deletion (ABPC)", xlabel="area, more is better")
    axis.spines[["top", "right"]].set_visible(False)
