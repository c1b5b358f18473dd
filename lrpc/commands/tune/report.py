"""What `lrpc tune` writes: the composite, every candidate's figures, the frontier as a picture."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from lrpc.commands.evaluate.intervals import Mean
from lrpc.commands.evaluate.results import Results
from lrpc.commands.session.record import write_json
from lrpc.commands.tune.search import Search
from lrpc.support.files import complete, write_text


def write(
    args: argparse.Namespace, search: Search, held: Results | None, parts: Sequence[str]
) -> None:
    """`composite.yaml` (a candidate for `lrpc evaluate --variants`) and `tuned.json`."""
    best = search.best
    header = (
        f"# Chosen by lrpc tune on {args.scenes} among {len(search.trials)} candidates by\n"
        f"# {search.criterion.words()}.\n"
    )
    options = yaml.safe_dump({"tuned": best.choice.options()}, sort_keys=False, width=100)
    write_text(args.output / "composite.yaml", header + options)
    record = {
        "config": str(args.config),
        "scenes": str(args.scenes),
        "held_out": None if args.held_out is None else str(args.held_out),
        "weights": dict(search.criterion.weights),
        "parts": list(parts),
        "best": best.choice.name,
        "failed": dict(search.failed),
        "candidates": [
            {
                "rules": trial.choice.name,
                "criterion": trial.value if trial.value > float("-inf") else None,
                "figures": _plain(trial.means),
            }
            for trial in search.trials
        ],
        "held_out_figures": None
        if held is None
        else {method: _plain(means) for method, means in held.summary().items()},
        "held_out_differences": None
        if held is None
        else {method: _plain(m) for method, m in held.differences(best.choice.name).items()},
    }
    write_json(args.output / "tuned.json", record)


def _plain(means: Mapping[str, Mean]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in means.items()}


def frontier(folder: Path, search: Search, held: Results | None) -> None:
    """`frontier.png` and `.svg`: faithfulness over class correlation, of every candidate, and of
    those that were held out with their intervals."""
    figure = importlib.import_module("matplotlib.figure").Figure((7, 4.6), layout="constrained")
    axes = figure.add_subplot()
    found = [(t.means["class_correlation"].mean, t.means["abpc"].mean) for t in _shown(search)]
    axes.scatter(*zip(*found, strict=True), s=14, color="0.65", label="candidates (calibration)")
    best = search.best.choice.name
    for method, means in ({} if held is None else held.summary()).items():
        if not {"class_correlation", "abpc"} <= set(means):
            continue
        x, y = means["class_correlation"], means["abpc"]
        own = method == best
        axes.errorbar(x.mean, y.mean, _span(y), _span(x), "o", color="#b2182b" if own else "0.2",
            capsize=2, markersize=5)  # fmt: skip
        name = "chosen" if own else method
        axes.annotate(name, (x.mean, y.mean), xytext=(6, 5), textcoords="offset points")
    axes.set_xlabel("|correlation| with maps of the query's other classes (lower is better)")
    axes.set_ylabel("ABPC (higher is better)")
    axes.legend(loc="lower right")
    for kind in ("png", "svg"):
        with complete(folder / f"frontier.{kind}") as part:
            figure.savefig(part, format=kind, dpi=150, metadata=_DATELESS[kind])


_DATELESS: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}}


def _shown(search: Search) -> list[Any]:
    return [t for t in search.trials if {"class_correlation", "abpc"} <= set(t.means)]


def _span(mean: Mean) -> list[list[float]] | None:
    if mean.low is None or mean.high is None:
        return None
    return [[max(mean.mean - mean.low, 0.0)], [max(mean.high - mean.mean, 0.0)]]
