#!/usr/bin/env python3
"""Times the sampling op of deformable attention, path by path, and an encoder of six layers.

    python tools/bench_sampling.py [--device cuda] [--dtype bfloat16] [--levels 100x100,50x50,25x25]
    python tools/bench_sampling.py --encoder [--save DIR] [--against DIR]

Results are compared first: the op with its float64 reference, the encoder with the program in
`--against` (such as one that another version of lrpc wrote with `--save`), which is then timed in
turn with the new one. Times are medians in ms; memory is that of CUDA. A GPU needs triton.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import lrpc  # noqa: E402
from lrpc.codegen.kernels import deformable, triton_deformable  # noqa: E402
from lrpc.ir.ops import TABLE  # noqa: E402
from lrpc.models.maskdino.pixel_decoder import EncoderLayer  # noqa: E402
from lrpc.run.program_dir import load_program  # noqa: E402

HEADS, WIDTH, POINTS, LAYERS = 8, 256, 4, 6
Levels = tuple[tuple[int, int], ...]


def median(function: Callable[[], Any], repeats: int, device: str) -> float:
    """Median milliseconds of `function`, after two runs that do not count."""
    times = []
    for turn in range(repeats + 2):
        begin = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        if turn > 1:
            times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


def offset_pattern(levels: int) -> Tensor:
    """Where the initialised model samples, in pixels: head by head along a direction of its own,
    point by point further out. [H, L, P, 2]"""
    angle = torch.arange(HEADS) * (2 * math.pi / HEADS)
    way = torch.stack((angle.cos(), angle.sin()), -1)
    way = way / way.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, POINTS + 1).view(1, 1, POINTS, 1)
    return (way.view(HEADS, 1, 1, 2) * steps).expand(-1, levels, -1, -1)


def references(levels: Levels) -> Tensor:
    """The centre of every token's cell as (x, y) in [0, 1]: [S, 2]."""
    parts = []
    for height, width in levels:
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        parts.append(torch.stack(((x + 0.5) / width, (y + 0.5) / height), -1).reshape(-1, 2))
    return torch.cat(parts)


def drawn(levels: Levels, batch: int, seeds: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    """g, value, loc and weight as in a model: the initial pattern and one pixel of noise."""
    torch.manual_seed(0)
    anchors = references(levels)
    rows, count = anchors.shape[0], len(levels)
    sizes = torch.tensor([(x, y) for y, x in levels]).view(count, 1, 2)
    noise = torch.randn(batch, rows, HEADS, count, POINTS, 2)
    loc = anchors.view(1, rows, 1, 1, 1, 2) + (offset_pattern(count) + noise) / sizes
    weight = torch.randn(batch, rows, HEADS, count * POINTS).softmax(-1).view(noise.shape[:-1])
    g = torch.randn(seeds, batch, rows, WIDTH)
    value = torch.randn(batch, rows, HEADS, WIDTH // HEADS)
    return [t.to(device, dtype) for t in (g, value, loc, weight)]


def distance(found: Tensor, exact: Tensor) -> float:
    """The largest difference over the largest entry."""
    return float((found.double() - exact.double()).abs().max() / exact.double().abs().max())


def checked(levels: Levels, tensors: list[Tensor]) -> None:
    """Compare each path with the float64 reference; stop where one is wrong."""
    g, value, loc, weight = tensors
    wide = [t.double() for t in tensors]
    exact = TABLE["deform_sample"].reference(*wide[1:], levels=levels)
    back = TABLE["deform_splat"].reference(wide[0][:1], *wide[2:], levels=levels)
    mixed = TABLE["deform_weight_transpose"].reference(wide[0][:1], *wide[1:3], levels=levels)
    found = {
        "sample": (deformable.deform_sample(value, loc, weight, levels), exact),
        "splat": (deformable.deform_splat(g[:1], loc, weight, levels), back),
        "splat, several seeds": (
            deformable.deform_splat(g[:1].expand(4, -1, -1, -1), loc, weight, levels)[3:],
            back,
        ),
        "to weights": (deformable.deform_weight_transpose(g[:1], value, loc, levels), mixed),
    }
    limit = 1e-4 if g.dtype == torch.float32 else 3e-2
    for name, (got, wanted) in found.items():
        error = distance(got, wanted)
        print(f"  {name}: {error:.1e} of the largest entry from float64")
        if not error < limit:
            raise SystemExit(f"{name} is wrong: {error} of the largest entry")


def op_rows(levels: Levels, batch: int, seeds: int, options: argparse.Namespace) -> None:
    device, dtype = options.device, getattr(torch, options.dtype)
    tensors = drawn(levels, batch, seeds, device, dtype)
    print(f"B={batch}, K={seeds}, {options.dtype}, {device}")
    checked(levels, tensors)
    g, value, loc, weight = tensors
    part = (levels, {}, "x")
    fast = deformable.has_triton(value)
    sizes = deformable.level_sizes(levels)
    b, q, h = loc.shape[:3]
    rows = b * q * h

    def entries() -> tuple[Tensor, Tensor]:
        if fast:
            return triton_deformable.triton_entries(loc, weight, sizes, False)
        index, coefficient = deformable.deform_corners(loc, levels)
        return index, coefficient * weight.unsqueeze(-1)

    found = entries()
    table = deformable.deform_transposed(*found, rows, rows)
    flat = g.reshape(seeds, rows, -1)
    paths: dict[str, Callable[[], Any]] = {
        "indices and entries": entries,
        "their transpose": lambda: deformable.deform_transposed(*found, rows, rows),
        "sample, first": lambda: deformable.deform_sample(value, loc, weight, levels),
        "sample, state kept": lambda: deformable.deform_sample(value, loc, weight, *part),
        "splat, first": lambda: deformable.deform_splat(g, loc, weight, levels),
        "splat by gather, transpose kept": lambda: deformable.deform_gather(flat, *table),
        "to weights": lambda: deformable.deform_weight_transpose(g, value, loc, *part),
    }
    if fast:
        paths["splat by atomics"] = lambda: triton_deformable.triton_splat(g, loc, weight, sizes)
    for name, path in paths.items():
        print(f"  {name}: {median(path, options.repeats, device):.2f} ms")


class Encoder(nn.Module):
    """Deformable encoder layers over tokens [B, S, 256] of fixed levels."""

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.levels = levels
        spec: Any = SimpleNamespace(
            encoder_width=WIDTH, encoder_heads=HEADS, encoder_ffn=1024, levels=len(levels)
        )
        self.layers = nn.ModuleList(EncoderLayer(spec) for _ in range(LAYERS))
        for layer in self.layers:
            offsets = layer.self_attn.sampling_offsets
            nn.init.normal_(offsets.weight, std=1 / math.sqrt(WIDTH))  # a pixel of noise
            offsets.bias.data = offset_pattern(len(levels)).reshape(-1).clone()
        anchors = references(levels)[None, :, None].expand(-1, -1, len(levels), -1)
        self.register_buffer("anchors", anchors.clone())
        self.register_buffer("positions", 0.1 * torch.randn(1, anchors.shape[1], WIDTH))

    def forward(self, tokens: Tensor) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens, self.positions, self.anchors, self.levels, None)
        return tokens


def encoder_rows(levels: Levels, options: argparse.Namespace) -> None:
    torch.manual_seed(1)
    tokens = torch.randn(options.batch, sum(y * x for y, x in levels), WIDTH)
    program = lrpc.compile(Encoder(levels).eval(), (tokens,))
    if options.save:
        print(f"saved to {program.save(options.save)}")
    places = {"new": Path(program.directory)}
    if options.against:
        places["against"] = Path(options.against)
    programs = {name: load_program(path, options.device) for name, path in places.items()}
    tokens = tokens.to(options.device)
    seeds = torch.randn(4, *tokens.shape, device=options.device)
    results = {
        name: p.relevance(p.forward(tokens), seeds=seeds).input for name, p in programs.items()
    }
    for name, result in results.items():
        print(f"{name}: {distance(result, results['new']):.1e} of the largest relevance from new")
    times: dict[str, dict[str, list[float]]] = {name: {} for name in programs}
    for turn in range(options.repeats + 1):
        for name, p in programs.items():
            for what, seconds in sweeps(p, tokens, seeds):
                if turn:
                    times[name].setdefault(what, []).append(seconds)
    for what in times["new"]:
        told = {name: 1e3 * statistics.median(t[what]) for name, t in times.items()}
        ratio = f"  against/new {told['against'] / told['new']:.2f}" if len(told) > 1 else ""
        print(f"{what}: " + ", ".join(f"{n} {ms:.0f} ms" for n, ms in told.items()) + ratio)


def sweeps(program: Any, tokens: Tensor, seeds: Tensor) -> list[tuple[str, float]]:
    """Seconds of a forward pass, the first relevance call on its state, and a further one."""
    found: list[tuple[str, float]] = []

    def timed(what: str, call: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        made = call()
        if tokens.is_cuda:
            torch.cuda.synchronize()
        found.append((what, time.perf_counter() - begin))
        return made

    for count in (1, seeds.shape[0]):
        state = timed(f"K={count}: forward", partial(program.forward, tokens))
        for call in ("first relevance", "further relevance"):
            timed(f"K={count}: {call}", partial(program.relevance, state, seeds=seeds[:count]))
        amounts = dict(found[-3:])
        both = amounts[f"K={count}: forward"] + amounts[f"K={count}: first relevance"]
        found.append((f"K={count}: forward and relevance", both))
    return found


def main() -> int:
    """Parse the command line and print what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--levels", default="100x100,50x50,25x25", help="HxW of every level")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1, help="of the encoder")
    parser.add_argument("--cases", default="1x1,1x4", help="BxK of every table, for the op")
    parser.add_argument("--encoder", action="store_true", help="six layers in place of the op")
    parser.add_argument("--save", help="keep the encoder's program in this directory")
    parser.add_argument("--against", help="another program of the encoder, timed in turn")
    options = parser.parse_args()
    levels = tuple((int(y), int(x)) for y, x in (s.split("x") for s in options.levels.split(",")))
    if options.encoder:
        encoder_rows(levels, options)
        return 0
    with torch.no_grad():
        for case in options.cases.split(","):
            op_rows(levels, *map(int, case.split("x")), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
