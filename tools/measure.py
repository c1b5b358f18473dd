#!/usr/bin/env python3
"""Times compilation, forward and relevance of a MaskDINO config beside autograd, in one run.

    python tools/measure.py examples/maskdino_r50_coco.yaml [--json OUT] [--repeats N]

Results are compared before anything is timed: the program's outputs with the model's, query by
query, for a mask pixel at its threshold may flip a box between any two float32 implementations.
Times are medians over rounds in which each part runs once, so that what slows the machine down
slows all of them; memory is the peak resident size of the compiling process, imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lrpc.config import load_config
from lrpc.models.sources import build_model
from lrpc.run.program_dir import load_program


def compiled(config: Path, overrides: list[str], output: Path) -> dict[str, float]:
    """Compile in a process of its own; wall seconds and peak memory in GB."""
    command = [sys.executable, "-m", "lrpc.cli", "compile", "--config", str(config)]
    begin = time.perf_counter()
    subprocess.run([*command, "-o", str(output), *overrides], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"compile_s": seconds, "compile_peak_gb": peak / 1e9}


def medians(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each function over `repeats` rounds, after one round that does not
    count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def input_gradient(model: nn.Module, images: Tensor) -> Tensor:
    """The gradient of one class logit in the image, by autograd through the model."""
    leaf = images.clone().requires_grad_(True)
    return torch.autograd.grad(model(leaf)["pred_logits"][0, 0, 0], leaf)[0]


def _apart(found: Tensor, expected: Tensor) -> Tensor:
    """The largest difference of each query [Q], relative to the largest output."""
    return ((found - expected).abs() / expected.abs().max()).flatten(2).amax((0, 2))


def timed(config: Path, overrides: list[str], directory: Path, repeats: int) -> dict[str, float]:
    """Seconds of the model and of its program on one seeded image."""
    settings = load_config(config, overrides)
    model, _ = build_model(settings)
    program: Any = load_program(directory, "cpu")
    height, width = settings.LRPC.SHAPES[0]
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        expected = model(images)
    state = program.forward(images)
    apart = torch.stack([_apart(state.outputs[k], v) for k, v in expected.items()]).amax(0)

    def relevance(seeds: int, **options: Any) -> Any:
        at = [(query, 0) for query in range(seeds)]
        return program.relevance(state, "class_logit", at=at, **options)

    def model_forward() -> Any:
        with torch.no_grad():
            return model(images)

    parts: dict[str, Callable[[], Any]] = {
        "model_forward_s": model_forward,
        "model_forward_and_gradient_s": lambda: input_gradient(model, images),
        "program_forward_s": lambda: program.forward(images),
        "relevance_s": lambda: relevance(1, read=["input"]),
        "relevance_of_4_seeds_s": lambda: relevance(4, read=["input"]),
        "relevance_with_ledger_s": lambda: relevance(1, ledger=True),
    }
    return {
        "outputs_differ_by": float(apart.median()),
        "queries_that_flipped": int((apart > 1e-5).sum()),
        **medians(parts, repeats),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("config", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE")
    args = parser.parse_intermixed_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "program"
        figures = compiled(args.config, args.overrides, directory)
        figures |= timed(args.config, args.overrides, directory, args.repeats)
    table = Table(
        title=f"{args.config}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("against forward and gradient", justify="right")
    for name, value in figures.items():
        share = value / figures["model_forward_and_gradient_s"]
        ratio = f"{share:.2f}" if name.endswith("_s") and name != "compile_s" else ""
        table.add_row(name, f"{value:.3g}", ratio)
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
