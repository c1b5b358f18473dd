"""The arguments of `lrpc evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrpc.commands.evaluate.settings import (
    BASELINES,
    FILLS,
    FORMS,
    MATCHES,
    ORDERS,
    PARTS,
    Protocol,
    Settings,
)
from lrpc.commands.session import arguments
from lrpc.commands.session.arguments import fraction, natural, positive
from lrpc.config.target_kinds import CONTRASTS

_OUTPUT = Path("build/evaluation")
_DEFAULT = Settings()
_PROTOCOL = Protocol()
_EPILOG = (
    "Curves are drawn by matplotlib, which the extra 'evaluate' brings: pip install "
    "'lrpc[evaluate]'. Without it, give --no-plot. What every figure means stands in "
    "docs/evaluate.md."
)
_GRID = (
    "one value each, or several with commas between (or the word both); every combination is "
    "measured, from the same maps"
)
_HELP = {
    "annotations": "COCO instances of the scenes' images, or cases of the VPS benchmark",
    "output": f"folder of metrics.json, metrics.csv, curves.png and .svg ({_OUTPUT})",
    "config": "compile candidates from this config into a temporary folder",
    "variants": "YAML of further candidates, NAME: {COMPOSITE: …, RULES: […]}, keys as below LRPC",
    "baselines": f"none, or some of {', '.join(BASELINES)} (those that can be made: all with "
    "--config, random without)",
    "iou": f"least overlap of a detection with its object ({_DEFAULT.iou})",
    "sensitivity": "explain other classes and queries, too: how much maps depend on what was asked",
    "contrast": f"explain differences to other classes, too: {', '.join(CONTRASTS)}",
    "samples": "of SmoothGrad and D-RISE (20 and 500)",
    "steps": f"steps of each curve, finer at its start ({_DEFAULT.steps})",
    "removed": "share of the image after whose removal the score is told, beside the areas "
    f"({_DEFAULT.removed})",
    "patch": f"side of what is removed or inserted at once; 1: pixels ({_PROTOCOL.patch})",
    "fill": "what removed patches become: mean (the mean colour), blur, inpaint (mean)",
    "order": "patches by the sum of relevance (signed) or of its magnitude (absolute) (signed)",
    "randomise": "randomisation check (needs --config): module paths whose weights become random "
    f"one after the other, outputs first; alone: {', '.join(PARTS)}",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc evaluate` to its parser."""
    parser.epilog = _EPILOG
    add = parser.add_argument
    told = "compiled programs of one model, and KEY VALUE of --config at the end"
    add("programs", nargs="*", metavar="DIR", help=told)
    add("--scenes", type=Path, required=True, metavar="FOLDER", help=FORMS)
    add("--annotations", type=Path, metavar="FILE", help=_HELP["annotations"])
    add("-o", "--output", type=Path, default=_OUTPUT, metavar="OUT", help=_HELP["output"])
    _add_methods(parser)
    add_objects(parser)
    add_protocols(parser)
    _add_figures(parser)
    arguments.running(parser, _DEFAULT.batch)
    arguments.overrides(parser)
    add("--no-plot", action="store_true", help="no pictures")


def _add_methods(parser: argparse.ArgumentParser) -> None:
    """What is compared."""
    add = parser.add_argument
    old = "as KEY VALUE at the end, which takes its place with the next release"
    add("--config", type=Path, metavar="FILE", help=_HELP["config"])
    add("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help=old)
    add("--composites", metavar="A,B,…", help="composites to compile (the config's own)")
    add("--variants", type=Path, metavar="FILE", help=_HELP["variants"])
    add("--baselines", metavar="A,B,…", help=_HELP["baselines"])
    add("--ig-steps", type=positive, default=20, metavar="N", help="of integrated gradients (20)")
    add("--samples", type=positive, metavar="N", help=_HELP["samples"])
    add("--contrast", type=_contrasts, default=(), metavar="A,B,…", help=_HELP["contrast"])


def add_objects(parser: argparse.ArgumentParser) -> None:
    """Which objects take part."""
    add = parser.add_argument
    add("--limit", type=positive, default=0, metavar="N", help="at most N objects (all)")
    arguments.score(parser, _DEFAULT.score)
    add("--iou", type=fraction, default=_DEFAULT.iou, help=_HELP["iou"])
    add(
        "--match", choices=MATCHES, default=_DEFAULT.match, help=f"what overlaps ({_DEFAULT.match})"
    )


def add_protocols(parser: argparse.ArgumentParser) -> None:
    """How it is measured."""
    add = parser.add_argument
    add("--steps", type=positive, default=_DEFAULT.steps, metavar="N", help=_HELP["steps"])
    share = _DEFAULT.removed
    add("--removed", type=fraction, default=share, metavar="SHARE", help=_HELP["removed"])
    grid = parser.add_argument_group("protocols", _GRID)
    one = _PROTOCOL
    sizes, fills, orders = (one.patch,), (one.fill,), (one.order,)
    grid.add_argument("--patch", type=_sizes, default=sizes, metavar="N,…", help=_HELP["patch"])
    grid.add_argument("--fill", type=_fills, default=fills, metavar="A,…", help=_HELP["fill"])
    grid.add_argument("--order", type=_orders, default=orders, metavar="A,…", help=_HELP["order"])


def _add_figures(parser: argparse.ArgumentParser) -> None:
    """What is measured besides."""
    add = parser.add_argument
    add("--sensitivity", action="store_true", help=_HELP["sensitivity"])
    every, form = ",".join(PARTS), "PART,PART,…"
    add("--randomise", nargs="?", const=every, metavar=form, help=_HELP["randomise"])
    add("--seed", type=natural, default=_DEFAULT.seed, help="of all that is random (0)")


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(positive(word) for word in text.split(",")))


def _fills(text: str) -> tuple[str, ...]:
    return _some(FILLS, text)


def _contrasts(text: str) -> tuple[str, ...]:
    return _some(tuple(CONTRASTS), text)


def _orders(text: str) -> tuple[str, ...]:
    return _some(ORDERS, text)


def _some(known: tuple[str, ...], text: str) -> tuple[str, ...]:
    """One or several of the `known` words, with commas; `both` is all of them."""
    words = known if text == "both" else tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in known:
            raise argparse.ArgumentTypeError(f"no '{word}'; {', '.join(known)}, or both")
    return tuple(dict.fromkeys(words))
