"""MaskDINO with a ResNet-50: relevance beside the model's own gradient, and what a ledger takes."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from lrpc.commands.bench import rebuilt
from lrpc.commands.bench.command import example
from lrpc.commands.bench.machine import machine
from lrpc.commands.bench.timing import Spread, Timed, interleaved
from lrpc.config import load_config
from lrpc.errors import ProgramError
from tools.bench.case_compile import DIGITS, FULL, ROOT, command_of, run_alone
from tools.bench.contest import Row
from tools.bench.goals import verdicts
from tools.bench.offered import load
from tools.bench.settings import Options

TARGET, SEED = "class_logit", (0, 0)
LIMIT = 1e-3
GRADIENT, BOTH = "the model: forward and input gradient", "program: forward and relevance"
FORWARD, ALONE, LEDGER = "program: forward", "program: relevance", "program: relevance with ledger"


def run(options: Options) -> dict[str, Any]:
    """The case as JSON holds it, of one image at the size of the config."""
    name = DIGITS if options.quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        options.tell(f"detector: {name}")
        output = Path(folder) / "program"
        run_alone(command_of(ROOT / name, output, []))
        program = load(output, options.device, {})
        weights = str(load_config(ROOT / name, []).MODEL.WEIGHTS)
        calls, errors = _calls(program, options.device, Path(weights) if weights else None)
        times = interleaved(calls, options.repeats, options.device)
    rows = [_row(name, times[name], errors.get(name)) for name in calls]
    values = {}
    for key, ours, other in (("detector/both", BOTH, GRADIENT), ("detector/ledger", LEDGER, ALONE)):
        row = next(row for row in rows if row.name == ours)
        row.against = times[ours].median / times[other].median
        row.note = f"of {other}"
        values[key] = {"slowdown": (ours, row.against)}
    images = next(iter(example(program.manifest, 1).values()))
    shape = "×".join(map(str, images.shape[-2:]))
    table = {
        "title": f"{name}, {shape}, {program.manifest['composite']}, {TARGET} at {SEED}",
        "ratio": "time, of that of another row",
        "rows": [row.to_json() for row in rows],
    }
    options.show(table)
    return {
        "machine": machine(options.device),
        "settings": {"config": name, "repeats": options.repeats},
        "tables": [table],
        "verdicts": [] if options.quick else verdicts(values, options.gpu_name),
    }


def _row(name: str, time: Spread, error: float | None) -> Row:
    """The model's own row has no error: it is what the program is compared with."""
    limit = None if error is None else LIMIT
    return Row(name, error is not None, "", time=time, error=error, limit=limit)


def _calls(
    program: Any, device: str, weights: Path | None
) -> tuple[dict[str, Timed], dict[str, float]]:
    """What is timed, and errors of the program's: of its outputs from the model's, and of the sum
    of the ledger from the target. ProgramError where one is over the limit."""
    inputs = {key: x.to(device) for key, x in example(program.manifest, 1).items()}
    other = rebuilt.original(program.manifest, inputs, device, weights)
    if isinstance(other, str):
        raise ProgramError(f"no model beside the program: {other}")
    state = program.forward(**inputs)
    outputs = rebuilt.apart(state.outputs, other.forward())
    if not outputs < LIMIT:
        raise ProgramError(f"the program's outputs differ from the model's by {outputs:.1e}")

    def relevance(state: Any, ledger: bool = False) -> Any:
        return program.relevance(state, TARGET, at=[SEED], ledger=ledger)

    open_ = float(relevance(state, True).ledger.closure.abs().max())
    if not open_ < LIMIT:
        raise ProgramError(f"the ledger of the program is open by {open_:.1e}")
    calls = {
        GRADIENT: other.gradient,
        FORWARD: partial(program.forward, **inputs),
        BOTH: lambda: relevance(program.forward(**inputs)),
        ALONE: partial(relevance, state),
        LEDGER: partial(relevance, state, True),
    }
    return calls, {FORWARD: outputs, BOTH: max(outputs, open_), ALONE: open_, LEDGER: open_}
