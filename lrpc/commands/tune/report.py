"""What `lrpc tune` writes: the composite, every candidate's figures, the frontier as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from lrpc.commands.evaluate.frontier import write_frontier
from lrpc.commands.evaluate.intervals import Mean
from lrpc.commands.evaluate.results import Results
from lrpc.commands.session.record import write_json
from lrpc.commands.tune.search import Search
from lrpc.support.files import write_text


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
        "contrast": search.contrast or None,
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
        else {
            method: _plain(m) for method, m in held.differences(search.called(best.choice)).items()
        },
    }
    write_json(args.output / "tuned.json", record)


def _plain(means: Mapping[str, Mean]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in means.items()}


def frontier(folder: Path, search: Search, held: Results | None) -> None:
    """`frontier.png` and `.svg`: every candidate, and those that were held out by name."""
    tried = {search.called(trial.choice): trial.means for trial in search.trials}
    named = tried if held is None else held.summary()
    others = None if held is None else tried
    write_frontier(folder, named, others, search.called(search.best.choice))
