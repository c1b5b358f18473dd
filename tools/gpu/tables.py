"""The cases of tools/bench as parts: their tables kept, every row and target a record."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.bench import case_encoder, case_vit
from tools.bench.case_encoder import Encoders, compiler_of
from tools.bench.contest import Ready
from tools.bench.encoder import chosen
from tools.bench.settings import Options
from tools.gpu.records import FAILED, OK, SKIPPED, Record, Records

STATUS = {"measured": OK, "absent": SKIPPED, "wrong": FAILED, "failed": FAILED}


def run(records: Records, case: str, options: Options, keep: Path) -> None:
    """Measure a case; `keep` is where its JSON goes, which `tools/bench --docs` can read."""
    found = importlib.import_module(f"tools.bench.case_{case}").run(options)
    keep.write_text(json.dumps({case: found}))
    for table in found["tables"]:
        for row in table["rows"]:
            records.add(_row(records.part, table["title"], row))
    for one in found["verdicts"]:
        word = "reached" if one["reached"] else "not reached"
        kind = one["kind"] if one["kind"] in ("seconds", "bytes") else ""
        note = f"target: {one['must']:g}, {word}"
        records.ok(f"target: {one['work']}", one["value"], kind, note)


def _row(part: str, title: str, row: Mapping[str, Any]) -> Record:
    time, note = row["time"], row["note"]
    if time is not None and row["peak"] is not None:
        about = f"peak {row['peak']:,} bytes, error {row['error']:.0e}"
        note = f"{about}; {note}" if note else about
    value = time["median"] if time else None
    name = f"{title}: {row['name']}"
    return Record(part, name, STATUS[row["status"]], value, None, "seconds" if time else "", note)


def warm(records: Records, what: str, options: Options) -> None:
    """Compile what the tables will run through torch.compile, whose cache then has it. `what`:
    `encoder`, `seeds`, or a composite of `vit`."""
    for one in options.configurations:
        if "compile" not in one.loading:
            continue
        with records.checking(f"{what}, {one.name}"):
            ready = _ready(what, options, one)
            for _ in range(2):
                ready.call()
            records.ok(f"{what}, {one.name}: torch.compile")


def _ready(what: str, options: Options, one: Any) -> Ready:
    if what in ("encoder", "seeds"):
        layout = chosen(options.levels, options.quick)
        batch, seeds = (options.batch, 1) if what == "encoder" else (1, options.seeds)
        compiler = compiler_of(layout, options)
        made = Encoders(layout, compiler, batch, seeds, options)
        return made.program(options.composites[0], one)
    sizes = case_vit.SMALL if options.quick else case_vit.Sizes()
    return case_vit.Transformers(sizes, options).program(what, one, case_encoder.EPSILON)
