"""The command behind tools/bench."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lrpc.commands.bench import store
from lrpc.commands.bench.tables import Case, Sheet
from lrpc.errors import ConfigError, LrpcError
from lrpc.runtime.pages import keep_freed_memory
from tools.bench import growth
from tools.bench.encoder import Levels
from tools.bench.growth_tables import growth_sheets
from tools.bench.offered import CONFIGURATIONS, configuration
from tools.bench.page import write_docs
from tools.bench.settings import CPU, GPU, QUICK, Options
from tools.bench.sheets import rows_of, sheets, to_markdown

CASES = ("encoder", "vit", "compile", "sampling", "checkpoint", "detector", "sizes")
DOCS = Path(__file__).resolve().parents[2] / "docs"


def parser() -> argparse.ArgumentParser:
    """The command line of tools/bench."""
    top = argparse.ArgumentParser(
        prog="tools/bench",
        description="Measures programs beside what else there is, in one run, on this machine. "
        "Results are checked first; what is wrong is not timed, and the exit code is 1.",
    )
    top.add_argument("--cases", help=f"some of {','.join(CASES)}; default: all")
    top.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    top.add_argument("--quick", action="store_true", help="tiny sizes: does everything work?")
    top.add_argument("--json", type=Path, metavar="FILE", help="keep the figures, case by case")
    top.add_argument("--repeats", type=int, metavar="N", help="rounds that are timed")
    top.add_argument("--levels", metavar="100,50,25", help="sides of the encoder's levels, or HxW")
    top.add_argument("--batch", type=int, metavar="B", help="images, of the encoder")
    top.add_argument("--seeds", type=int, metavar="K", help="seeds of one image")
    top.add_argument("--vit-batch", type=int, metavar="B", help="images, of the transformer")
    top.add_argument("--composites", metavar="A,B", help="of the encoder's programs")
    top.add_argument(
        "--ways",
        metavar="W,W",
        help="of compiling and loading programs, such as tf32 or bf16+compile+capture",
    )
    top.add_argument(
        "--torch-compile", action="store_true", help="autograd under torch.compile as well"
    )
    top.add_argument(
        "--keep-pages", action="store_true", help="this process keeps freed memory, for all rows"
    )
    top.add_argument("--save", type=Path, metavar="DIR", help="keep the encoder's program")
    top.add_argument("--against", type=Path, metavar="DIR", help="time that program as well")
    top.add_argument("--growth", action="store_true", help="measure growth, and no cases")
    top.add_argument(
        "--limit-s", type=float, default=600.0, metavar="S", help="of measuring growth"
    )
    top.add_argument(
        "--docs", action="store_true", help="measure nothing; write docs/performance.md anew"
    )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 where a result was wrong or a candidate failed, 2 for an error."""
    args = parser().parse_args(argv)
    try:
        if args.docs:
            for path in write_docs(DOCS):
                print(f"written: {path}")
            return 0
        options = _options(args)
        names = _names(args)
        if args.keep_pages and not keep_freed_memory():
            raise ConfigError("--keep-pages needs glibc; leave it out")
        if args.json is not None and args.json.exists():
            store.read(args.json)  # an error now, not after an hour
        return _run(args, names, options)
    except LrpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace, names: list[str], options: Options) -> int:
    bad = False
    for name in names:
        begin = time.perf_counter()
        try:
            case = _growth(args, options) if name == "growth" else _case(name, options)
        except LrpcError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            bad = True
            continue
        options.tell(f"{name}: {time.perf_counter() - begin:.0f} s")
        rest = {k: v for k, v in case.items() if k != "tables"}  # those were shown when they came
        show(growth_sheets(case) if name == "growth" else sheets(rest))
        bad |= _bad(case)
        if args.json is not None:
            about = {**case["machine"], "keep_pages": args.keep_pages}
            store.write(args.json, {name: {**case, "machine": about}})
    return int(bad)


def _case(name: str, options: Options) -> Case:
    found: Case = importlib.import_module(f"tools.bench.case_{name}").run(options)
    return found


def _growth(args: argparse.Namespace, options: Options) -> Case:
    span = growth.QUICK if args.quick else growth.RANGES["cuda" if options.gpu else "cpu"]
    repeats = args.repeats or (1 if args.quick else 3)
    return growth.Growth(options.device, span, args.limit_s, repeats, options.tell).run()


def _bad(case: Case) -> bool:
    rows = [row for table in case.get("tables", ()) for row in table["rows"]]
    return any(row["status"] in ("wrong", "failed") for row in rows)


def show(found: Sequence[Sheet]) -> None:
    """Print tables; without rich, as Markdown."""
    try:
        from lrpc.commands.bench.tables import to_rich
        from lrpc.support.terminal import Terminal
    except ImportError:
        print("\n".join(to_markdown(sheet) for sheet in found))
        return
    console = Terminal()
    wide = Terminal(width=160) if not console.is_terminal else console
    for sheet in found:
        wide.print(to_rich(sheet))


def _names(args: argparse.Namespace) -> list[str]:
    if args.growth:
        if args.cases:
            raise ConfigError("give --growth or --cases, and not both")
        return ["growth"]
    names = list(CASES) if args.cases is None else args.cases.split(",")
    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise ConfigError(f"--cases {unknown[0]}: there are {', '.join(CASES)}")
    return names


def _options(args: argparse.Namespace) -> Options:
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU here; take --device cpu")
    chosen: dict[str, Any] = {**(GPU if device == "cuda" else CPU), **(QUICK if args.quick else {})}
    for name in ("repeats", "batch", "seeds", "vit_batch"):
        value = getattr(args, name)
        if value is not None:
            if value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: expected a number from 1")
            chosen[name] = value
    if args.levels is not None:
        chosen["levels"] = levels_of(args.levels)
    if args.composites is not None:
        chosen["composites"] = _composites(args.composites)
    names = CONFIGURATIONS[device] if args.ways is None else args.ways.split(",")
    return Options(
        device,
        quick=args.quick,
        configurations=tuple(map(configuration, names)),
        torch_compile=args.torch_compile,
        against=args.against,
        save=args.save,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
        show=lambda table: show([rows_of(table)]),
        **chosen,
    )


def levels_of(text: str) -> Levels:
    """`100,50` or `100x80,50x40` as heights and widths."""
    found = []
    for part in text.split(","):
        sides = part.split("x")
        if len(sides) > 2 or not all(s.isdecimal() and int(s) for s in sides):
            raise ConfigError(f"--levels {text}: expected sides such as 100,50,25 or 100x80,50x40")
        found.append((int(sides[0]), int(sides[-1])))
    return tuple(found)


def _composites(text: str) -> tuple[str, ...]:
    from tools.bench.detached import SHARES

    known = ("gradient_input", *(name for name in SHARES if name != "gamma"))
    names = tuple(text.split(","))
    for name in names:
        if name not in known:
            raise ConfigError(f"--composites {name}: checked here are {', '.join(known)}")
    return names
