"""Faithfulness over class sensitivity, as a picture: up and left is better."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrpc.commands.evaluate.intervals import Mean
from lrpc.support.files import complete

Summary = Mapping[str, Mapping[str, Mean]]
AXES = ("class_correlation", "abpc")
#: Of matplotlib: the same bytes each time, text that stays text, and names as they are.
STYLE: dict[Any, Any] = {"svg.hashsalt": "lrpc", "svg.fonttype": "none", "text.parse_math": False}
_DATELESS: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}}


def write_frontier(
    folder: Path, summary: Summary, others: Summary | None = None, chosen: str = ""
) -> None:
    """`frontier.png` and `.svg`: ABPC over class correlation of each method that has both, with
    95 % intervals; `others` are small dots without names, the `chosen` method is red. Nothing where
    no method has both."""
    shown = {name: means for name, means in summary.items() if set(AXES) <= set(means)}
    if not shown:
        return
    with importlib.import_module("matplotlib").rc_context(STYLE):
        _draw(folder, shown, others or {}, chosen)


def _draw(folder: Path, shown: Summary, others: Summary, chosen: str) -> None:
    figure = importlib.import_module("matplotlib.figure").Figure((7, 4.6), layout="constrained")
    axes = figure.add_subplot()
    points = [tuple(means[a].mean for a in AXES) for means in _with_both(others)]
    if points:
        axes.scatter(*zip(*points, strict=True), s=14, color="0.7", label="on calibration images")
        axes.legend(loc="lower right")
    for name, means in shown.items():
        x, y = (means[axis] for axis in AXES)
        color = "#b2182b" if name == chosen else "0.2"
        axes.errorbar(x.mean, y.mean, _span(y), _span(x), "o", color=color, capsize=2, ms=5)
        axes.annotate(name, (x.mean, y.mean), xytext=(6, 5), textcoords="offset points")
    axes.set_xlabel("|correlation| with maps of the query's other classes (lower is better)")
    axes.set_ylabel("ABPC (higher is better)")
    for kind, metadata in _DATELESS.items():
        with complete(folder / f"frontier.{kind}") as part:
            figure.savefig(part, format=kind, dpi=150, metadata=metadata)


def _with_both(summary: Summary) -> list[Mapping[str, Mean]]:
    return [means for means in summary.values() if set(AXES) <= set(means)]


def _span(mean: Mean) -> list[list[float]] | None:
    if mean.low is None or mean.high is None:
        return None
    return [[max(mean.mean - mean.low, 0.0)], [max(mean.high - mean.mean, 0.0)]]
