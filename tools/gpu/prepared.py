"""The programs that are checked and measured: compiled here, or before on another machine."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lrpc.errors import ProgramError
from tools.bench import case_checkpoint, case_encoder, case_vit
from tools.bench.encoder import Encoder, Layout, chosen, drawn
from tools.bench.offered import compile_function, configuration
from tools.bench.settings import CPU, GPU, QUICK, Options

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "origin.json"
WEIGHTS = "weights"  # the folder of weights that several programs have
#: How programs are compiled and loaded for the tables of tools/bench; the first is every program's.
WAYS = ("tf32", "bf16", "fp32", "tf32+capture", "tf32+compile+capture", "bf16+compile+capture")
BUDGET = "70%"
DIGITS, FULL = "examples/maskdino.yaml", "examples/maskdino_r50_coco.yaml"


@dataclass(frozen=True)
class Job:
    """A program to compile; `make` does it, and does nothing where the program is there."""

    name: str
    make: Callable[[], object]


def options_of(device: str, tiny: bool, store: Path, **more: Any) -> Options:
    """What tools/bench is asked for."""
    sizes = {**(CPU if tiny else GPU), **(QUICK if tiny else {"repeats": 9})}
    names = ("fp32",) if tiny else WAYS
    return Options(
        device, quick=tiny, configurations=tuple(map(configuration, names)), store=store,
        short=True, **{**sizes, **more},
    )  # fmt: skip


def checked_programs(tiny: bool) -> tuple[str, ...]:
    """The programs whose every target is checked, by name."""
    return ("deformable",) if tiny else ("digits", "r50", "digits-any-size")


def jobs(store: Path, tiny: bool) -> list[Job]:
    """All programs that the parts need, those that take longest first."""
    memory = ["LRPC.MEMORY.CHECKPOINT", "auto", "LRPC.MEMORY.BUDGET", BUDGET]
    named: dict[str, Callable[[Path], object]] = {
        "r50": partial(_configured, FULL, []),
        "r50-budget": partial(_configured, FULL, memory),
        "digits": partial(_configured, DIGITS, []),
        "digits-budget": partial(_configured, DIGITS, memory),
        "digits-any-size": partial(_configured, DIGITS, ["LRPC.DYNAMIC", "True"]),
    }
    if tiny:
        budget = {"checkpoint": "auto", "budget": BUDGET}
        named = {
            "deformable": partial(_small, {}),
            "deformable-budget": partial(_small, budget),
        }
    found = [Job(name, partial(_made, store / name, make)) for name, make in named.items()]
    return [*found, *_of_bench(options_of("cpu", tiny, store))]


def _made(path: Path, make: Callable[[Path], object]) -> None:
    if not path.is_dir():
        make(path)


def _configured(config: str, words: Sequence[str], path: Path) -> None:
    load = importlib.import_module("lrpc.config").load_config
    importlib.import_module("lrpc.compiler").compile_config(load(ROOT / config, list(words)), path)


def _small(options: Mapping[str, Any], path: Path) -> None:
    layout = chosen(QUICK["levels"], True)
    tokens, _ = drawn(1, layout, 1)
    composites = ["attnlrp", "cp_lrp"]
    made = compile_function()(Encoder(layout), (tokens,), composite=composites, **options)
    made.save(path)


def _of_bench(options: Options) -> Iterator[Job]:
    layout: Layout = chosen(options.levels, options.quick)
    asked: dict[str, tuple[Callable[[], Any], Any, Any]] = {}
    vit = case_vit.SMALL if options.quick else case_vit.Sizes()
    for table in (("attnlrp", "cp_lrp", "gradient_input"), ("gamma", case_vit.OUTSIDE)):
        for name in table:
            for one in options.ways(name == table[0]):
                for epsilon in (case_vit.EPSILON, *([0.0] if one.name == "fp32" else [])):
                    asked[f"vit {name} {one.name.split('+')[0]} {epsilon}"] = (
                        lambda: case_vit.Transformers(vit, options).compiler,
                        case_vit.chosen(name, epsilon),
                        one.compiling,
                    )
    for name in options.composites:
        for one in options.ways(name == options.composites[0]):
            maker = partial(case_encoder.compiler_of, layout, options)
            asked[f"encoder {name} {one.name.split('+')[0]}"] = (maker, name, one.compiling)
    for name, kind in () if options.quick else case_checkpoint.kinds():
        maker = partial(case_encoder.compiler_of, layout, options, 1)
        asked[f"encoder {name}"] = (maker, case_checkpoint.COMPOSITE, kind)
    for name, (maker, composite, compiling) in asked.items():
        yield Job(name, partial(_stored, maker, composite, compiling))


def _stored(maker: Callable[[], Any], composite: Any, compiling: Any) -> None:
    maker().directory(composite, compiling)


# -- a folder of programs --------------------------------------------------------------------------


def origin() -> dict[str, str]:
    """What programs depend on: the sources of the compiler, by checksum."""
    total = hashlib.sha256()
    for folder in ("lrpc", "passes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            total.update(path.read_bytes())
    return {"sources": total.hexdigest()}


def stamp(store: Path) -> None:
    """Say in a folder of programs what they were compiled by."""
    (store / ORIGIN).write_text(json.dumps(origin()) + "\n")


def check_origin(store: Path) -> None:
    """Refuse a folder that is none of ours, or older than the sources here."""
    path = store / ORIGIN
    if not path.is_file():
        raise ProgramError(f"{store}: holds no programs of --prepare; run it first")
    if json.loads(path.read_text()) != origin():
        raise ProgramError(
            f"{store}: the programs were compiled by other sources; prepare them again"
        )


def share_weights(store: Path) -> None:
    """Keep equal weights once: links beside the programs point into one folder."""
    shared = store / WEIGHTS
    shared.mkdir(exist_ok=True)
    for path in programs(store):
        own = path / "weights.safetensors"
        if own.is_symlink():
            continue
        place = shared / f"{hashlib.sha256(own.read_bytes()).hexdigest()[:16]}.safetensors"
        if not place.exists():
            own.rename(place)
        else:
            own.unlink()
        own.symlink_to(Path("..") / WEIGHTS / place.name)


def programs(store: Path) -> Sequence[Path]:
    """The program directories in a folder."""
    return [path.parent for path in sorted(store.glob("*/manifest.json"))]
