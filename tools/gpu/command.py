"""The command behind tools/gpu_check.py: which parts run when, one JSON file, one table."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from lrpc.commands.bench.machine import machine
from lrpc.commands.bench.tables import Sheet
from lrpc.errors import ConfigError, LrpcError
from tools.bench.sheets import sheets, to_markdown
from tools.gpu import parts, prepared
from tools.gpu.children import SECONDS, Ended, Part, run_all
from tools.gpu.parts import Asked
from tools.gpu.records import FAILED, OK, SKIPPED, Record, figure

SCRIPT = Path(__file__).resolve().parents[1] / "gpu_check.py"
GROUPS = ("kernels", "tests", "checks", "warm", "times", "bench")
#: What is timed, one after the other, and for how long at most; what matters most comes first.
TIMED = {"bench:encoder": 80.0, "bench:vit": 70.0, "times": 60.0, "bench:checkpoint": 40.0,
         "bench:sampling": 30.0}  # fmt: skip
TINY = ("bench:encoder", "bench:vit", "times", "bench:sampling")
#: What torch.compile compiles before it is timed: its tables, each in two precisions.
WARM = ("encoder", "seeds", "attnlrp", "gamma")
RESERVE = 5.0  # seconds, for the table
#: What compiling programs needs beside torch, and which package has it.
PACKAGES = {"numpy": "numpy", "networkx": "networkx", "rich": "rich", "yaml": "PyYAML",
            "safetensors": "safetensors"}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="tools/gpu_check.py",
        description="Checks and measures programs on one GPU; the exit code is 1 where something"
        " failed.",
    )
    top.add_argument("--tiny", action="store_true", help="tiny sizes, on the CPU")
    top.add_argument("--json", type=Path, metavar="FILE", help="write all that was found")
    top.add_argument("--programs", type=Path, metavar="DIR", help="programs of --prepare")
    top.add_argument(
        "--prepare", type=Path, metavar="DIR", help="compile the programs, and nothing else"
    )
    top.add_argument("--parts", metavar="A,B", help=f"some of {','.join(GROUPS)}; default: all")
    top.add_argument("--limit-s", type=float, default=480.0, metavar="S", help="of it all (480)")
    top.add_argument(
        "--jobs", type=int, metavar="N", help="processes at once while nothing is timed"
    )
    top.add_argument("--child", nargs=2, metavar=("PART", "FILE"), help=argparse.SUPPRESS)
    return top


@dataclass
class Run:
    """The choices of a run, and what has come of it."""

    tiny: bool
    store: Path
    work: Path
    groups: Sequence[str]
    until: float
    jobs: int
    done: list[Ended] = field(default_factory=list)

    @property
    def device(self) -> str:
        return "cpu" if self.tiny else "cuda"

    def part(self, name: str, limit_s: float) -> Part:
        """A part as a command of its own."""
        place = self.work / name.replace(":", "-").replace("/", "-").replace(" ", "-")
        records, log = place.with_suffix(".jsonl"), place.with_suffix(".log")
        command = [sys.executable, str(SCRIPT), "--programs", str(self.store)]
        command += ["--tiny"] if self.tiny else []
        env = {"TORCHINDUCTOR_COMPILE_THREADS": "4"}  # several parts compile at once
        env |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if self.tiny else {}
        return Part(name, [*command, "--child", name, str(records)], limit_s, records, log, env)

    def together(self, parts: Sequence[Part], at_once: int) -> None:
        self.done += run_all(parts, at_once, self.until, tell)

    def asked(self, group: str, parts: Sequence[Part]) -> list[Part]:
        return list(parts) if group in self.groups else []


def main(argv: Sequence[str] | None = None) -> int:
    """1 where a check failed or a part was ended, 2 where nothing could be run."""
    args = parser().parse_args(argv)
    try:
        if args.child:
            seconds = float(os.environ.get(SECONDS, "inf"))
            asked = Asked(args.programs, "cpu" if args.tiny else "cuda", args.tiny, seconds)
            return parts.run(args.child[0], Path(args.child[1]), asked)
        if args.prepare is not None:
            return prepare(args.prepare, args.tiny, args.jobs or cores())
        return check(args)
    except LrpcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def prepare(store: Path, tiny: bool, jobs: int) -> int:
    """Compile all programs into a folder; what is there already stays."""
    store.mkdir(parents=True, exist_ok=True)
    if any(store.iterdir()):
        prepared.check_origin(store)
    prepared.stamp(store)
    with tempfile.TemporaryDirectory() as work:
        run = Run(tiny, store, Path(work), (), time.perf_counter() + 7200.0, jobs)
        run.together(programs_of(run, 3600.0), jobs)
    prepared.share_weights(store)
    size = sum(path.lstat().st_size for path in store.rglob("*") if path.is_file())
    print(f"{store}: {len(prepared.programs(store))} programs, {size / 1e6:,.0f} MB")
    return report(run, None)


def programs_of(run: Run, limit_s: float) -> list[Part]:
    """Parts that compile all programs, each one of them; the tiny ones share processes."""
    count = len(prepared.jobs(run.store, run.tiny))
    count = min(run.jobs, count) if run.tiny else count
    return [run.part(f"programs:{i}/{count}", limit_s) for i in range(count)]


def check(args: argparse.Namespace) -> int:
    """Run the parts that are asked for, then write and print what was found."""
    begin = time.perf_counter()
    if not args.tiny and not torch.cuda.is_available():
        raise ConfigError("torch sees no GPU here; --tiny runs on the CPU")
    groups = GROUPS if args.parts is None else tuple(args.parts.split(","))
    if unknown := [name for name in groups if name not in GROUPS]:
        raise ConfigError(f"--parts {unknown[0]}: there are {', '.join(GROUPS)}")
    with tempfile.TemporaryDirectory() as folder:
        store = args.programs or Path(folder) / "programs"
        if args.programs is not None:
            prepared.check_origin(store)
        store.mkdir(exist_ok=True)
        work = Path(folder) / "work"
        work.mkdir()
        until = begin + args.limit_s - RESERVE
        run = Run(args.tiny, store, work, groups, until, args.jobs or cores())
        run_parts(run, args.programs is None)
        return report(run, args.json)


def run_parts(run: Run, compiling: bool) -> None:
    """What needs no program beside compiling; what needs programs; then, one after the other, what
    is timed."""
    names = prepared.checked_programs(run.tiny)
    early = run.asked("kernels", [run.part("kernels", 120.0)])
    early += run.asked("tests", [run.part("tests", 160.0)] if not run.tiny else [])
    wanted = any(group in run.groups for group in GROUPS[2:])
    if compiling and wanted:
        if missing():
            raise ConfigError(
                f"programs cannot be compiled here without {', '.join(missing())}; give --programs,"
                " or --parts kernels,tests"
            )
        early += programs_of(run, 150.0)
    run.together(early, run.jobs)
    ways = [way for way in prepared.WAYS if "compile" in way and not run.tiny]
    checks = run.asked("checks", [run.part(f"checks:{name}", 140.0) for name in names])
    warm = [run.part(f"warm:{what}:{way}", 140.0) for what in WARM for way in ways]
    run.together(checks + run.asked("warm", warm), run.jobs)
    timed = []
    for name in TINY if run.tiny else TIMED:
        each = [f"times:{one}" for one in names] if name == "times" else [name]
        timed += run.asked(name.split(":")[0], [run.part(one, TIMED[name]) for one in each])
    run.together(timed, 1)


def missing() -> list[str]:
    """The packages that compiling needs and that are not installed."""
    return [has for name, has in PACKAGES.items() if importlib.util.find_spec(name) is None]


def cores() -> int:
    return max(1, (os.cpu_count() or 1) // 2)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- what was found --------------------------------------------------------------------------------


def report(run: Run, path: Path | None) -> int:
    """Write the JSON file, print the table; 1 where something failed."""
    failed = [ended for ended in run.done if ended.failed]
    if path is not None:
        path.write_text(json.dumps(as_json(run), indent=1) + "\n")
    for ended in run.done:
        case = cases_of(ended.part)
        found = [sheet for one in case.values() for sheet in sheets(one)]
        for one in found or [sheet(ended)]:
            show(one)
    show(summary(run.done))
    return int(bool(failed))


def summary(done: Sequence[Ended]) -> Sheet:
    """One row for each part; what failed below."""
    rows, notes = [], []
    for one in done:
        counts = [sum(r.status == word for r in one.records) for word in (OK, FAILED, SKIPPED)]
        name = one.part.name
        rows.append([name, f"{one.seconds:.0f} s", *map(str, counts), one.trouble])
        notes += [f"{name}: {r.name}: {why(r)}" for r in one.records if r.status == FAILED]
    return Sheet("all parts", ["", "time", OK, FAILED, SKIPPED, ""], rows, notes)


def why(record: Record) -> str:
    """Why a check failed."""
    if record.value is None or record.limit is None:
        return record.note
    over = f"{figure(record.value, record.kind)}, at most {limit(record)}"
    return f"{over}; {record.note}" if record.note else over


def cases_of(part: Part) -> dict[str, Any]:
    """The case of tools/bench that a part has measured."""
    path = part.records.with_suffix(parts.CASE)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def as_json(run: Run) -> dict[str, Any]:
    """All that was found. `cases` are as tools/bench writes them."""
    cases = {k: v for one in run.done for k, v in cases_of(one.part).items()}
    told = [
        {"name": one.part.name, "seconds": round(one.seconds, 1), "trouble": one.trouble,
         "records": [asdict(record) for record in one.records]}
        for one in run.done
    ]  # fmt: skip
    about = machine(run.device)
    return {"format": 1, "machine": about, "tiny": run.tiny, "parts": told, "cases": cases}


def sheet(ended: Ended) -> Sheet:
    """The table of a part."""
    rows = [[r.name, r.status, value(r), limit(r), r.note] for r in ended.records]
    notes = [ended.trouble] if ended.trouble else []
    head = ["", "result", "value", "at most", ""]
    return Sheet(f"{ended.part.name}, {ended.seconds:.0f} s", head, rows, notes)


def value(record: Record) -> str:
    plain = record.value is not None and not record.kind
    return f"{record.value:.3g}" if plain else figure(record.value, record.kind)


def limit(record: Record) -> str:
    return "" if record.limit is None else figure(record.limit, record.kind)


def show(one: Sheet) -> None:
    """Print a table; without rich as Markdown."""
    try:
        from lrpc.commands.bench.tables import to_rich
        from lrpc.support.terminal import Terminal
    except ImportError:
        print(to_markdown(one))
        return
    console = Terminal()
    (console if console.is_terminal else Terminal(width=160)).print(to_rich(one))
