"""Two program directories in one process: their calls in turns, what they hold, and whether they
give the same.

    python -m tools.bench.turns OLD NEW --target class_logit --at "[(0, 0)]" --turns 9

OLD may be of an earlier version of lrpc, NEW is of this checkout. Of both the table has medians of
times, and the most bytes that forward and relevance allocated; of NEW, also what is predicted.
"""

from __future__ import annotations

import argparse
import ast
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.bench.command import example
from lrpc.commands.bench.memory import peak
from lrpc.commands.bench.tables import Sheet, duration
from lrpc.commands.bench.timing import interleaved
from lrpc.commands.session.units import size
from lrpc.errors import ConfigError, LrpcError
from lrpc.program.loading import load_program
from lrpc.program.memory_of import open_model
from tools.bench.command import show

NAMES = ("old", "new")
PARTS = ("forward", "relevance", "with ledger")


def parser() -> argparse.ArgumentParser:
    """The command line of tools/bench/turns.py."""
    top = argparse.ArgumentParser(
        prog="tools.bench.turns", description="Time two program directories in turns."
    )
    top.add_argument("old", type=Path, metavar="OLD")
    top.add_argument("new", type=Path, metavar="NEW")
    top.add_argument("--target", help="default: the first that both have")
    top.add_argument(
        "--at", metavar="LIST", help='as in Python, "[(0, 0), (1, 2)]"; default: zeros'
    )
    top.add_argument("--batch", type=int, default=1, metavar="B", help="images")
    top.add_argument("--turns", type=int, default=9, metavar="N", help="of each call")
    top.add_argument("--threads", type=int, metavar="T", help="of torch")
    top.add_argument("--device", default="cpu")
    top.add_argument(
        "--cpu-time", action="store_true", help="of the process, for a machine that is busy"
    )
    top.add_argument("--no-peaks", action="store_true", help="times alone")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table; 1 where relevance differs, 2 for an error."""
    args = parser().parse_args(argv)
    try:
        return _run(args)
    except LrpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    for name in ("batch", "turns", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: expected a number from 1")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    programs = [load_program(path, args.device) for path in (args.old, args.new)]
    target, at = _request(args, programs)
    pair = [_Calls(p, args.batch, target, at, args.device) for p in programs]
    same, notes = compared(*(calls.relevance(True) for calls in pair))
    rows = _times(pair, args)
    if not args.no_peaks:
        rows += _peaks(pair, args.device)
        notes.append(_predicted(args.new, target, args.batch, len(at)))
    title = f"{target}, {args.batch} image(s), {len(at)} seed(s), {args.device}, "
    title += f"{torch.get_num_threads()} thread(s), {args.turns} turns"
    show([Sheet(title, ["", *NAMES, "new / old"], rows, notes)])
    return int(not same)


class _Calls:
    """A program's calls, on seeded inputs."""

    def __init__(self, program: Any, batch: int, target: str, at: Any, device: str) -> None:
        self.program, self.target, self.at = program, target, at
        self.inputs = {k: v.to(device) for k, v in example(program.manifest, batch).items()}
        self.state = self.forward()

    def forward(self) -> Any:
        return self.program.forward(**self.inputs)

    def relevance(self, ledger: bool) -> Any:
        return self.program.relevance(self.state, self.target, at=self.at, ledger=ledger)

    def both(self, ledger: bool) -> Any:
        return self.program.relevance(self.forward(), self.target, at=self.at, ledger=ledger)

    def parts(self) -> dict[str, Callable[[], Any]]:
        """What is timed, by name."""
        calls = (self.forward, partial(self.relevance, False), partial(self.relevance, True))
        return dict(zip(PARTS, calls, strict=True))


def _request(args: argparse.Namespace, programs: Sequence[Any]) -> tuple[str, list[Any]]:
    """The target, and the places of its seeds."""
    known = [{t["name"]: t for t in p.manifest["targets"]} for p in programs]
    common = [name for name in known[0] if name in known[1]]
    name = args.target or (common[0] if common else "")
    if name not in common:
        raise ConfigError(f"--target {name}: both programs have {', '.join(common) or 'none'}")
    if args.at is None:
        return name, [(0,) * len(known[1][name]["index_names"])]
    try:
        at = ast.literal_eval(args.at)
    except (ValueError, SyntaxError) as error:
        raise ConfigError(f'--at {args.at}: expected a list such as "[(0, 0), (1, 2)]"') from error
    if not isinstance(at, list) or not at:
        raise ConfigError(f'--at {args.at}: expected a list such as "[(0, 0), (1, 2)]"')
    return name, at


def compared(old: Any, new: Any) -> tuple[bool, list[str]]:
    """Whether two results have the same relevance, bit for bit; what there is to say of that and of
    their ledgers."""
    first, second = ({**r.inputs, **r.layers} for r in (old, new))
    apart = {k: _apart(first[k], second[k]) for k in first.keys() & second.keys()}
    same = first.keys() == second.keys() and not any(apart.values())
    worst = max(apart.values(), default=float("inf"))
    notes = ["relevance: equal" if same else f"relevance: DIFFERS by {worst:.0e} of its largest"]
    rows = [[row[:3] for row in r.ledger.rows] for r in (old, new)]
    if rows[0] != rows[1]:
        return same, [*notes, "ledger: rows DIFFER"]
    pairs = zip(old.ledger.rows, new.ledger.rows, strict=True)
    most = max(float((a[3] - b[3]).abs().max()) for a, b in pairs)
    start = float(old.ledger.start.abs().max())
    return same, [*notes, f"ledger: {len(rows[0])} rows, apart by {most / start:.0e} of the start"]


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest entry; infinite for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    return 0.0 if torch.equal(a, b) else float((a - b).abs().max() / a.abs().max())


def _times(pair: Sequence[_Calls], args: argparse.Namespace) -> list[list[str]]:
    rows = []
    for part in PARTS:
        calls = {name: own.parts()[part] for name, own in zip(NAMES, pair, strict=True)}
        clock = time.process_time if args.cpu_time else time.perf_counter
        found = interleaved(calls, args.turns, args.device, clock=clock)
        old, new = (found[name].median for name in NAMES)
        rows.append([part, duration(old), duration(new), f"{new / old:.3f}"])
    return rows


def _peaks(pair: Sequence[_Calls], device: str) -> list[list[str]]:
    rows = []
    for ledger in (False, True):
        old, new = (peak(partial(own.both, ledger), device) for own in pair)
        name = f"peak of forward and relevance{', with ledger' * ledger}"
        rows.append([name, size(old), size(new), f"{new / old:.3f}"])
    return rows


def _predicted(path: Path, target: str, batch: int, seeds: int) -> str:
    """What the memory model says of NEW."""
    model = open_model(path)
    index = next(i for i, code in enumerate(model.codes) if code.name == target)
    after = model.forward(batch)
    peaks = (model.timeline(index, seeds, after, ledger).peak for ledger in (False, True))
    return "predicted peaks of new: {}, with ledger {}".format(*map(size, peaks))


if __name__ == "__main__":
    sys.exit(main())
