"""One program of MaskDINO with a ResNet-50 for images of any size: how time and memory grow with
the size of the image, and how far the plan is off."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lrpc.commands.bench.machine import machine
from lrpc.commands.bench.memory import peak
from lrpc.commands.bench.timing import Timed, interleaved
from lrpc.program.memory_of import open_model
from tools.bench.case_compile import DIGITS, FULL, ROOT, command_of, run_alone
from tools.bench.contest import Row
from tools.bench.offered import load
from tools.bench.settings import Options

TARGET, SEED, COMPOSITE = "class_logit", (0, 0), "attnlrp"
#: From a shortest edge of 320 to the largest that released configs give, 800 by 1,333.
SIZES = ((320, 416), (480, 640), (640, 864), (800, 1088), (800, 1344), (1344, 1344))
QUICK = ((96, 128), (160, 160), (224, 160))
PLAN = 0.03  # how far the plan may be off


def run(options: Options) -> dict[str, Any]:
    """The case as JSON holds it: forward and relevance of one image of each size."""
    name, sizes = (DIGITS, QUICK) if options.quick else (FULL, SIZES)
    with tempfile.TemporaryDirectory() as folder:
        options.tell(f"sizes: {name}")
        output = Path(folder) / "program"
        run_alone(command_of(ROOT / name, output, ["LRPC.COMPOSITE", COMPOSITE]))
        program = load(output, options.device, {} if options.gpu else {"keep_pages": True})
        rows = [_row(program, output, size, options) for size in sizes]
    first = sizes[0][0] * sizes[0][1] / rows[0].time.median if rows[0].time else 0.0
    for row, (height, width) in zip(rows, sizes, strict=True):
        row.against = row.time.median / (height * width) * first if row.time else None
    table = {
        "title": f"{name}, one program for every size, {COMPOSITE}, {TARGET} at {SEED}",
        "ratio": "time per pixel, of that of the first row",
        "rows": [row.to_json() for row in rows],
    }
    options.show(table)
    settings = {"config": name, "repeats": options.repeats}
    found = {"machine": machine(options.device), "settings": settings}
    return {**found, "tables": [table], "verdicts": []}


def _row(program: Any, directory: Path, size: tuple[int, int], options: Options) -> Row:
    """Of one size. Its error is how far the predicted peak is from the measured one; memory of the
    inputs and weights is in neither."""
    options.tell(f"sizes: {size[0]}×{size[1]}")
    random = torch.Generator().manual_seed(0)
    images = (torch.rand(1, 3, *size, generator=random) * 255).to(options.device)

    def both() -> Any:
        return program.relevance(program.forward(images), TARGET, at=[SEED])

    calls: dict[str, Timed] = {"both": both, "forward": partial(program.forward, images)}
    times = interleaved(calls, options.repeats, options.device)
    predicted, measured = planned(directory, size, TARGET), peak(both, options.device)
    off = predicted / measured - 1
    row = Row(f"{size[0]}×{size[1]}", True, "", note=f"the plan says {off:+.1%}", peak=measured)
    row.time, row.forward = times["both"], times["forward"]
    row.error, row.limit = abs(off), PLAN
    return row


def planned(directory: Path, size: tuple[int, int], target: str) -> int:
    """The predicted peak of forward and relevance of a target, in bytes."""
    model = open_model(directory)
    model.sizes = dict(zip((s.name for s in model.graph.sizes), size, strict=True))
    index = next(i for i, code in enumerate(model.codes) if code.name == target)
    return model.timeline(index, 1, model.forward(1), False).peak
