"""How long `lrpc compile` takes, as a command of its own, with weights on disk."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import lrpc
from lrpc.config import load_config
from lrpc.errors import ProgramError
from lrpc.models.sources import build_model
from lrpc.models.weights import serialize_weights
from tools.bench.goals import verdicts
from tools.bench.offered import load
from tools.bench.settings import Options, machine

ROOT = Path(lrpc.__file__).resolve().parents[1]
FULL, DIGITS = "examples/maskdino_r50_coco.yaml", "examples/maskdino.yaml"
LIMIT = 1e-3
#: Linux counts for a process what the one had that started it, so a small one starts the command.
WATCH = """
import resource, subprocess, sys, time
begin = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def run(options: Options) -> dict[str, Any]:
    """The case as JSON holds it: seconds and peak resident memory of the compiling process, imports
    included; and how far the program's outputs are from the model's."""
    name = DIGITS if options.quick else FULL
    config = ROOT / name
    settings = load_config(config, [])
    model, _ = build_model(settings)
    seconds, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        weights.write_bytes(serialize_weights(dict(model.state_dict())))
        for turn in range(1 if options.quick else min(3, options.repeats)):
            options.tell(f"compile: {name}, {turn + 1}")
            output = Path(folder) / f"program{turn}"
            words = ["MODEL.WEIGHTS", str(weights)]
            taken, peak = run_alone(command_of(config, output, words))
            seconds.append(taken)
            peaks.append(peak)
        height, width = settings.LRPC.SHAPES[0]
        images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255
        with torch.no_grad():
            expected = model(images)
        found = load(output, "cpu", {}).forward(images).outputs
    error = apart(found, expected)
    if not error < LIMIT:
        raise ProgramError(f"{name}: the program's outputs differ from the model's by {error:.1e}")
    middle = statistics.median(seconds)
    values = {"compile": {"seconds": (name, middle)}} if not options.quick else {}
    return {
        "machine": machine("cpu"),
        "settings": {"config": name, "repeats": len(seconds)},
        "figures": {
            "seconds": middle,
            "least_seconds": min(seconds),
            "most_seconds": max(seconds),
            "peak_bytes": max(peaks),
            "outputs_differ_by": error,
        },
        "tables": [],
        "verdicts": verdicts(values, options.gpu_name),
    }


def command_of(config: Path, output: Path, words: Sequence[str]) -> list[str]:
    """`lrpc compile` of a config into a directory; `words` override its keys."""
    command = [sys.executable, "-m", "lrpc.cli", "compile", "--config", str(config)]
    return [*command, "-o", str(output), *words]


def run_alone(command: Sequence[str]) -> tuple[float, int]:
    """Run a command of lrpc in a process of its own: wall seconds, and the most resident bytes."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *command],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    if done.returncode:
        raise ProgramError(f"{' '.join(command[2:])} failed with {done.returncode}")
    seconds, most = done.stdout.split()
    return float(seconds), int(most) * 1024


def apart(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The median over queries of the largest difference, relative to the largest output: a mask
    pixel at its threshold may flip a box between any two float32 implementations."""
    parts = [
        ((found[k] - v).abs() / v.abs().max()).flatten(2).amax((0, 2)) for k, v in expected.items()
    ]
    return float(torch.stack(parts).amax(0).median())
