"""The arguments of `lrpc tune`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from lrpc.commands.evaluate import arguments as evaluating
from lrpc.commands.evaluate.results import METRICS
from lrpc.commands.evaluate.settings import FORMS
from lrpc.commands.session import arguments
from lrpc.commands.session.arguments import natural, positive
from lrpc.commands.tune.space import BASES, GAMMAS
from lrpc.config.target_kinds import CONTRASTS
from lrpc.rules.composite import COMPOSITES

_OUTPUT = Path("build/tuned")
_WEIGHTS = {"abpc": 1.0, "positive_in_box": 1.0, "class_correlation": -1.0}
_EPILOG = (
    "It measures every candidate as `lrpc evaluate --sensitivity` does, on the calibration images, "
    "and the chosen one with its rivals on the held-out images. docs/tutorials/tune.md."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc tune` to its parser."""
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("--config", type=Path, required=True, metavar="FILE", help="the model")
    add("--scenes", type=Path, required=True, metavar="FOLDER", help=f"to choose by: {FORMS}")
    add("--annotations", type=Path, metavar="FILE", help="COCO instances of the scenes' images")
    add("--held-out", type=Path, metavar="FOLDER", help="to report on: other images, likewise")
    told = "COCO instances of the held-out images"
    add("--held-out-annotations", type=Path, metavar="FILE", help=told)
    add("-o", "--output", type=Path, default=_OUTPUT, metavar="OUT", help=f"folder ({_OUTPUT})")
    told = f"composites to begin with ({','.join(BASES)})"
    add("--bases", type=_bases, default=BASES, metavar="A,B,…", help=told)
    told = f"γ of each part; 0 is the ε rule ({','.join(f'{g:g}' for g in GAMMAS)})"
    add("--gammas", type=_numbers, default=GAMMAS, metavar="G,…", help=told)
    told = "module paths that are tuned each (found in the model)"
    add("--parts", type=_words, default=(), metavar="PATH,…", help=told)
    add("--most-parts", type=positive, default=8, metavar="N", help="of those found (8)")
    told = "candidates at most (60): the search ends before a step that would pass them"
    add("--budget", type=positive, default=60, metavar="N", help=told)
    said = ",".join(f"{name}={weight:g}" for name, weight in _WEIGHTS.items())
    told = f"what is best: figures of lrpc evaluate with their weights ({said})"
    add("--weights", type=_weights, default=_WEIGHTS, metavar="NAME=W,…", help=told)
    told = f"explain differences to other classes, not logits: {', '.join(CONTRASTS)}"
    add("--contrast", choices=tuple(CONTRASTS), default="", metavar="WORD", help=told)
    evaluating.add_objects(parser)
    evaluating.add_protocols(parser)
    add("--seed", type=natural, default=0, help="of all that is random (0)")
    arguments.running(parser, 16)
    arguments.overrides(parser)
    add("--no-plot", action="store_true", help="no pictures")


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _bases(text: str) -> tuple[str, ...]:
    names = _words(text)
    for name in names:
        if name not in COMPOSITES:
            raise argparse.ArgumentTypeError(f"no composite '{name}'; {', '.join(COMPOSITES)}")
    if not names:
        raise argparse.ArgumentTypeError("name a composite")
    return names


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(dict.fromkeys(float(word) for word in _words(text)))
    except ValueError:
        found = ()
    if not found or not all(0 <= number < float("inf") for number in found):
        raise argparse.ArgumentTypeError(f"numbers of at least 0, with commas, not '{text}'")
    return found


def _weights(text: str) -> dict[str, float]:
    found = {}
    for word in _words(text):
        name, _, number = word.partition("=")
        if name not in METRICS:
            raise argparse.ArgumentTypeError(f"no figure '{name}'; {', '.join(METRICS)}")
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if not math.isfinite(found[name]):
            raise argparse.ArgumentTypeError(f"'{word}' is not NAME=NUMBER")
    if not found:
        raise argparse.ArgumentTypeError("name a figure, as in abpc=1")
    return found
