#!/usr/bin/env python3
"""Times one program as written, compiled (torch.compile) and, on a GPU, replayed (CUDA graphs).

    python tools/bench_load.py DIR [--device cuda] [--batch N] [--seeds N] [--repeats N]

Input and seeds are random. Results are compared first; then the ways take turns. Times are medians
in ms: the forward pass, the first relevance call on its state, a further one, forward and first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lrpc.run.program_dir import load_program  # noqa: E402

WAYS: dict[str, dict[str, bool]] = {
    "as written": {},
    "compiled": {"compile": True},
    "captured": {"capture": True},
    "both": {"compile": True, "capture": True},
}


def drawn(program: Any, batch: int) -> list[Tensor]:
    """Random inputs of the program."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for dtype, shape in program.interface.inputs.values():
        sizes = [batch if extent == "B" else extent for extent in shape]
        made.append(torch.rand(sizes, generator=generator).to(getattr(torch, dtype[6:])))
    return [x.to(program.device) for x in made]


def turn(program: Any, inputs: list[Tensor], target: str, seeds: Tensor) -> dict[str, float]:
    """Seconds of each step."""
    found = {}

    def timed(what: str, call: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        made = call()
        if program.device.type == "cuda":
            torch.cuda.synchronize()
        found[what] = time.perf_counter() - begin
        return made

    state = timed("forward", lambda: program.forward(*inputs))
    for what in ("first relevance", "further relevance"):
        timed(what, lambda: program.relevance(state, target, seeds=seeds))
    return {**found, "forward and first": found["forward"] + found["first relevance"]}


def main() -> int:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--target", help="by default the first")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    ways = {
        way: how
        for way, how in WAYS.items()
        if options.device.startswith("cuda") or "capture" not in how
    }
    programs: dict[str, Any] = {
        way: load_program(options.directory, options.device, **how) for way, how in ways.items()
    }
    plain = programs["as written"]
    inputs = drawn(plain, options.batch)
    target = options.target or next(iter(plain.interface.targets))
    block, name = plain.interface.targets[target].value
    value = plain.forward(*inputs).saved[block][name]
    seeds = torch.rand(options.seeds, *value.shape).to(value) * value  # G of the same size
    times: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    expected = plain.relevance(plain.forward(*inputs), target, seeds=seeds).input
    for way, program in programs.items():
        begin = time.perf_counter()
        found = program.relevance(program.forward(*inputs), target, seeds=seeds).input
        seconds, apart = time.perf_counter() - begin, (found - expected).abs().max()
        print(f"{way}: first call {seconds:.1f} s, {float(apart / expected.abs().max()):.1e} apart")
    for count in range(options.repeats + 2):
        for way, program in programs.items():
            for what, seconds in turn(program, inputs, target, seeds).items():
                if count > 1:
                    times[way].setdefault(what, []).append(seconds)
    for what in times["as written"]:
        told = {way: 1e3 * statistics.median(t[what]) for way, t in times.items()}
        ratios = "".join(f", {ms:.1f} ({ms / told['as written']:.2f})" for ms in told.values())
        print(f"{what}: {ratios[2:]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
