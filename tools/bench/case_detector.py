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
COMPOSITES = ("attnlrp", "maskdino")
GRADIENT, FORWARD = "the model: forward and input gradient", "program: forward"
BOTH, ALONE, LEDGER = "forward and relevance", "relevance", "relevance with ledger"


def run(options: Options) -> dict[str, Any]:
    """The case as JSON holds it, of one image of 800×1088."""
    name = DIGITS if options.quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        options.tell(f"detector: {name}")
        output = Path(folder) / "program"
        words = ["LRPC.COMPOSITE", f"[{', '.join(COMPOSITES)}]"]
        words += [] if options.quick else ["LRPC.SHAPES", "[[800, 1088]]"]
        run_alone(command_of(ROOT / name, output, words))
        kept = {} if options.gpu else {"keep_pages": True}  # by all rows: it is of the process
        program = load(output, options.device, kept)
        weights = str(load_config(ROOT / name, []).MODEL.WEIGHTS)
        calls, errors = _calls(program, options.device, Path(weights) if weights else None)
        times = interleaved(calls, options.repeats, options.device)
    rows = [_row(name, times[name], errors.get(name)) for name in calls]
    values = {}
    for composite in COMPOSITES:
        for what, of in ((BOTH, GRADIENT), (LEDGER, f"{composite}: {ALONE}")):
            ours = f"{composite}: {what}"
            row = next(row for row in rows if row.name == ours)
            row.against = times[ours].median / times[of].median
            row.note = f"of {of}"
            key = f"{'ledger' if what == LEDGER else 'r50'}/{composite}"
            values[key] = {"slowdown": (ours, row.against)}
    images = next(iter(example(program.manifest, 1).values()))
    shape = "×".join(map(str, images.shape[-2:]))
    table = {
        "title": f"{name}, {shape}, {TARGET} at {SEED}",
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

    def relevance(composite: str, state: Any = None, ledger: bool = False) -> Any:
        state = program.forward(**inputs) if state is None else state
        return program.relevance(state, TARGET, at=[SEED], composite=composite, ledger=ledger)

    calls = {GRADIENT: other.gradient, FORWARD: partial(program.forward, **inputs)}
    errors = {FORWARD: outputs}
    for name in COMPOSITES:
        rest = float(relevance(name, state, True).ledger.closure.abs().max())
        if not rest < LIMIT:
            raise ProgramError(f"{name}: the ledger is open by {rest:.1e}")
        calls[f"{name}: {BOTH}"] = partial(relevance, name)
        calls[f"{name}: {ALONE}"] = partial(relevance, name, state)
        calls[f"{name}: {LEDGER}"] = partial(relevance, name, state, True)
        errors |= dict.fromkeys((f"{name}: {what}" for what in (BOTH, ALONE, LEDGER)), rest)
    return calls, errors
