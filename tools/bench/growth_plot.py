"""Growth as a picture: time above, memory below, one column for each axis."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrpc.commands.bench.tables import Case
from lrpc.support.files import complete
from tools.bench.growth_tables import LABELS, base_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe & Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def digest(cases: Mapping[str, Case]) -> str:
    """A checksum of what is drawn; the picture carries it."""
    drawn = {name: {"axes": case["axes"], "fits": case["fits"]} for name, case in cases.items()}
    return hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()


def write_plot(path: Path, cases: Mapping[str, Case]) -> None:
    """Draw the growth of every machine as SVG, whole or not at all. Needs matplotlib."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with rc_context({"svg.hashsalt": "lrpc", "svg.fonttype": "none", "font.size": 9}):
        figure = draw(cases)
        FigureCanvasSVG(figure)
        with complete(path) as part:
            about = {"Date": None, "Description": f"data sha256 {digest(cases)}"}
            figure.savefig(part, format="svg", metadata=about)


def draw(cases: Mapping[str, Case]) -> Figure:
    """Measured points joined by lines, fits in the legend; predicted peaks dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.4), layout="constrained")
    grid = figure.subplots(2, len(LABELS), sharex="col", squeeze=False)
    for column, axis in enumerate(LABELS):
        above, below = grid[0][column], grid[1][column]
        for (name, case), colour in zip(cases.items(), COLOURS, strict=False):
            _time(above, case, axis, name, colour)
            _peak(below, case, axis, name, colour)
        bases = {name: base_of(case, axis) for name, case in cases.items()}
        lines = [f"{name}: {base}" for name, base in bases.items()]
        alike = len(set(bases.values())) == 1
        title = next(iter(bases.values())) if alike else "\n".join(lines)
        above.set_title(title, fontsize=8, color="#444444")
        below.set_xlabel(LABELS[axis])
        xs = sorted({row["x"] for case in cases.values() for row in case["axes"][axis]})
        for one in (above, below):
            _scales(one, xs)
            one.legend(frameon=False, fontsize=7.5, loc="upper left")
    grid[0][0].set_ylabel("forward + relevance, s")
    grid[1][0].set_ylabel("peak without weights, GB")
    return figure


def _scales(axes: Axes, xs: Sequence[int]) -> None:
    """Logarithmic, ticks at the points that were taken and at plain numbers; room for the
    legend."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.25)
    shown = [x for x, last in pairwise([*reversed(xs), 0]) if x > 1.25 * last]
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _short(x)))
    few = (1.0, 2.0, 5.0) if high > 8 * low else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axes.yaxis.set_major_locator(LogLocator(subs=few))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _short(x: float) -> str:
    """`525`, `3k`, `13k`."""
    return f"{x:g}" if x < 1000 else f"{x / 1000:.2g}k"


def _time(axes: Axes, case: Case, axis: str, name: str, colour: str) -> None:
    rows = [row for row in case["axes"][axis] if row["time"] is not None]
    xs = [row["x"] for row in rows]
    times = [row["time"]["median"] for row in rows]
    low = [t - row["time"]["low"] for t, row in zip(times, rows, strict=True)]
    high = [row["time"]["high"] - t for t, row in zip(times, rows, strict=True)]
    label = f"{name}{_exponent(case['fits'][axis]['time'])}"
    axes.errorbar(xs, times, (low, high), fmt="o-", ms=4, lw=1.4, color=colour, label=label)


def _peak(axes: Axes, case: Case, axis: str, name: str, colour: str) -> None:
    rows = case["axes"][axis]
    measured = [row for row in rows if row["peak"] is not None]
    told = f"{name}: predicted{_exponent(case['fits'][axis]['predicted'])}"
    known = [row for row in rows if row["predicted"] is not None]
    xs, peaks = [row["x"] for row in known], [row["predicted"] / 1e9 for row in known]
    axes.plot(xs, peaks, "--", lw=1.2, color=colour, alpha=0.7, label=told)
    xs, peaks = [row["x"] for row in measured], [row["peak"] / 1e9 for row in measured]
    axes.plot(xs, peaks, "o", ms=4, color=colour, label=f"{name}: measured")


def _exponent(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else f", exponent {found['exponent']:.2f}"
