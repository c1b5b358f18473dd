"""Arguments that several commands have, each declared once, and numbers within their ranges."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from lrpc.config.target_kinds import KINDS
from lrpc.errors import ConfigError
from lrpc.support.untrusted import near

Number = TypeVar("Number", int, float)
_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)+")
Parser = argparse.ArgumentParser | argparse._ArgumentGroup

PRESETS = {
    "low-memory": "one image and one seed at once",
    "high-throughput": "as many images as fit in half of the free memory",
}
_TARGETS = "where relevance starts, repeatable: " + ", ".join(
    (f"{name} | " if kind.of_detections else "") + kind.form for name, kind in KINDS.items()
)


def images_and_output(parser: Parser) -> None:
    """`--images`, `-o`, `--resume`."""
    add = parser.add_argument
    add("--images", type=Path, nargs="+", required=True, metavar="PATH", help="files or folders")
    add("-o", "--output", type=Path, required=True, metavar="OUT")
    add("--resume", action="store_true", help="leave out what this call has explained before")


def targets(parser: argparse.ArgumentParser) -> None:
    """`--target`, and of which detections: `--score`, `--top`, `--class`, `--at`, `--missed`."""
    group = parser.add_argument_group("what is explained")
    group.add_argument("--target", action="append", default=[], metavar="T", help=_TARGETS)
    score(group, 0.5)
    group.add_argument("--top", type=positive, default=5, help="detections per image (5)")
    add = partial(group.add_argument, action="append", default=[])
    told = "only detections of this class, by name or number, repeatable"
    add("--class", dest="classes", metavar="NAME", help=told)
    told = "only the detection with the smallest box around this pixel of the image, repeatable"
    add("--at", type=pixel, metavar="X,Y", help=told)
    told = "of each --class at each --at the query that comes nearest, whatever its score"
    group.add_argument("--missed", action="store_true", help=told)


def score(parser: Parser, default: float) -> None:
    """`--score`."""
    parser.add_argument(
        "--score", type=fraction, default=default, help=f"detections above ({default:g})"
    )


def running(parser: argparse.ArgumentParser, batch: int = 1) -> None:
    """How programs are run: `--batch-size`, `--seed-chunk`, `--pad`, `--device`."""
    group = parser.add_argument_group("how programs are run")
    add = group.add_argument
    add("--batch-size", type=positive, default=batch, metavar="N", help=f"images at once ({batch})")
    add("--seed-chunk", type=positive, default=0, metavar="K", help="seeds per call (all)")
    padding = "pad images that do not fill the input of a program of one size; without it they fail"
    add("--pad", action="store_true", help=padding)
    device(group)


def preset(parser: Parser) -> None:
    """`--preset`."""
    told = "; ".join(f"{name}: {does}" for name, does in PRESETS.items())
    told = f"--batch-size and --seed-chunk by the plan for this machine: {told}"
    parser.add_argument("--preset", choices=tuple(PRESETS), help=told)


def composite(parser: Parser, several: bool = False) -> None:
    """`--composite`, of a program that has several; repeatable where `several` may be named."""
    add, name = parser.add_argument, "--composite"
    if several:
        told = "only these of the programs' composites, repeatable (all)"
        add(name, action="append", metavar="NAME", help=told)
    else:
        add(name, metavar="NAME", help="one of the program's composites (its first)")


def sizes(parser: Parser, seeds: int, told: str) -> None:
    """`--batch` and `--seeds`, of calls that are planned or timed."""
    add = parser.add_argument
    add("--batch", type=positive, default=1, metavar="B", help="images (1)")
    add("--seeds", type=positive, default=seeds, metavar="K", help=f"{told} ({seeds})")


def device(parser: Parser, default: str | None = None) -> None:
    """`--device`."""
    told = default or "cuda where there is one"
    parser.add_argument("--device", default=default, help=f"cuda or cpu ({told})")


def display(parser: argparse.ArgumentParser) -> Parser:
    """How pictures show relevance: `--smooth`, `--percentile`; the group that they are in."""
    group = parser.add_argument_group("pictures")
    add = group.add_argument
    add("--smooth", type=sigma, default=0.0, metavar="SIGMA", help="Gaussian, pictures only (0)")
    add("--font", type=Path, metavar="FILE", help="for names that Pillow's own font cannot write")
    add("--percentile", type=percentile, default=99.5, help="of |relevance| in full colour (99.5)")
    return group


def plugins(parser: Parser) -> None:
    """`--plugin`, repeatable: none of a manifest's is imported that is not named here."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="PACKAGE.MODULE",
        help="a module that registers rules of its own, repeatable; those of a manifest are"
        " imported only where they are named here",
    )


def overrides(parser: Parser) -> None:
    """`KEY VALUE …` at the end; see `split_overrides` for commands that take paths before it."""
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="config keys and their values, at the end, as in detectron2",
    )


def split_overrides(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Paths, then KEY VALUE …, from the first word on that looks like a key (`MODEL.WEIGHTS`) and
    names no file or folder."""
    for n, word in enumerate(words):
        if _KEY.fullmatch(word) and not Path(word).exists():
            return [Path(path) for path in words[:n]], list(words[n:])
    return [Path(path) for path in words], []


def check_known(option: str, name: str, known: Sequence[str]) -> None:
    """Raise ConfigError where a program has no target or composite of that name."""
    if name not in known:
        close = near(name, known)
        hint = f" (perhaps {close})" if close else ""
        raise ConfigError(f"{option} {name}{hint}: the program has {', '.join(known)}")


# -- numbers ---------------------------------------------------------------------------------------


def between(kind: Callable[[str], Number], low: float, high: float) -> Callable[[str], Number]:
    """A type for argparse: a number in a range."""

    def read(text: str) -> Number:
        with suppress(ValueError):
            value = kind(text)
            if low <= value <= high:
                return value
        name = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"'{text}' is not a {name} from {low:g} to {high:g}")

    return read


def pixel(text: str) -> tuple[float, float]:
    """A type for argparse: X,Y."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x < 1e6 and 0 <= y < 1e6):
        raise argparse.ArgumentTypeError(f"'{text}' is not X,Y in pixels, such as 120,80")
    return x, y


positive = between(int, 1, 10**6)
natural = between(int, 0, 2**31 - 1)
fraction = between(float, 0, 1)
magnitude = between(float, 0, 1e300)
percentile = between(float, 50, 100)  # that leaves some colour
sigma = between(float, 0, 100)  # pixels
