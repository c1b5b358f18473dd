"""One program for images of any size beside programs that are compiled for each size: what differs,
time in turns, memory against the plan.

    python -m tools.bench.any_size --config examples/maskdino_r50_coco.yaml \\
        --sizes 320x480 480x320 416x608 608x416 800x544 --turns 5 MODEL.WEIGHTS ""
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.bench.memory import peak
from lrpc.commands.bench.tables import Sheet
from lrpc.commands.bench.timing import interleaved
from lrpc.commands.session.units import size as bytes_said
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.errors import LrpcError
from lrpc.program.loading import load_program
from tools.bench.case_sizes import planned
from tools.bench.command import show

COLUMNS = ["H×W", "outputs", "relevance", "ledger", "time", "peak", "predicted"]
NOTE = (
    "outputs, relevance: largest difference from the program of that size, over the largest entry,"
    " of all targets; ledger: what the ledger leaves open; time: of the program of any size over"
    " that of the program of that size, the median of turns; peak, predicted: bytes of forward and"
    " relevance of the first target"
)


def parser() -> argparse.ArgumentParser:
    """The command line of tools/bench/any_size.py."""
    top = argparse.ArgumentParser(prog="tools.bench.any_size", description="One program per size?")
    top.add_argument("--config", type=Path, required=True)
    top.add_argument("--sizes", nargs="+", required=True, metavar="HxW")
    top.add_argument("--turns", type=int, default=5, metavar="N", help="of each call (5); 0: none")
    top.add_argument("--no-peaks", action="store_true")
    top.add_argument("overrides", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 1 where the programs differ by more than rounding, 2 for an error."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except LrpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    split = next((n for n, word in enumerate(args.sizes) if not _size(word)), len(args.sizes))
    sizes = [_size(word) for word in args.sizes[:split]]
    keys = [*args.sizes[split:], *args.overrides]
    limit = 1e-11 if str(load_config(args.config, keys).LRPC.PRECISION) == "fp64" else 1e-4
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory(prefix="lrpc-") as folder:
        directory = _compiled(args.config, [*keys, "LRPC.DYNAMIC", "true"], Path(folder) / "any")
        for height, width in sizes:
            own = [*keys, "LRPC.SHAPES", f"[[{height},{width}]]", "LRPC.DYNAMIC", "false"]
            fixed = _compiled(args.config, own, Path(folder) / f"{height}x{width}")
            figures, row = _at(directory, fixed, (height, width), args)
            wrong += any(not figure < limit for figure in figures)
            rows.append(row)
            show([Sheet(f"{height}×{width}", COLUMNS, [row], [])])
    show([Sheet(str(args.config), COLUMNS, rows, [NOTE])])
    return int(wrong > 0)


def _size(word: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d+)x(\d+)", word)
    return (int(match[1]), int(match[2])) if match else None


def _compiled(config: Path, keys: Sequence[str], output: Path) -> Path:
    compile_config(load_config(config, keys), output, check=False)
    gc.collect()
    return output


def _at(
    any_size: Path, fixed: Path, size: tuple[int, int], args: argparse.Namespace
) -> tuple[list[float], list[str]]:
    """The differences at one size, and the row of the table."""
    one, other = (load_program(path, "cpu") for path in (any_size, fixed))
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(sum(size))) * 255
    name, _ = next(iter(other.manifest["inputs"].items()))
    precision = other.manifest["settings"]["precision"]
    inputs = {name: x.double() if precision == "fp64" else x}
    wanted, got = (_results(program, inputs) for program in (other, one))
    apart = [_apart(got[0][k], v) for k, v in wanted[0].items()]
    relevance = [_apart(got[1][k], v) for k, v in wanted[1].items()]
    figures = [max(apart), max(relevance), got[2]]
    row = [f"{size[0]}×{size[1]}", *(f"{figure:.0e}" for figure in figures)]
    target = next(iter(wanted[1]))
    calls = {
        "any": partial(_both, one, inputs, target),
        "one": partial(_both, other, inputs, target),
    }
    row.append(_time(calls, args.turns))
    row += ["", ""] if args.no_peaks else _peaks(any_size, calls["any"], size, target)
    return figures, row


def _results(
    program: Any, inputs: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor], float]:
    """Outputs, relevance of every target at the first input, and the worst closure."""
    state = program.forward(**inputs)
    found, closure = {}, 0.0
    for target in program.manifest["targets"]:
        result = program.relevance(state, target["name"], at=_first(target), ledger=True)
        found[target["name"]] = result.input
        closure = max(closure, float(result.ledger.closure.max()))
    return dict(state.outputs), found, closure


def _first(target: Any) -> list[tuple[int, ...]]:
    return [(0,) * len(target["index_names"])]


def _both(program: Any, inputs: dict[str, Tensor], name: str) -> Any:
    (target,) = (t for t in program.manifest["targets"] if t["name"] == name)
    return program.relevance(program.forward(**inputs), name, at=_first(target))


def _apart(got: Tensor, wanted: Tensor) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    return float((got - wanted).abs().max() / wanted.abs().max())


def _time(calls: dict[str, Callable[[], Any]], turns: int) -> str:
    if not turns:
        return ""
    found = interleaved(calls, turns, "cpu", clock=time.process_time)
    return f"{found['any'].median / found['one'].median:.3f}"


def _peaks(
    directory: Path, call: Callable[[], Any], size: tuple[int, int], target: str
) -> list[str]:
    measured = peak(call, "cpu")
    predicted = planned(directory, size, target)
    return [bytes_said(measured), f"{bytes_said(predicted)} ({predicted / measured - 1:+.1%})"]


if __name__ == "__main__":
    sys.exit(main())
