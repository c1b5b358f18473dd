"""How much fits in a machine, by the plan of a program: images and seeds at once, and workers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import torch

from lrpc.commands.session.units import count, size
from lrpc.program.memory_of import open_model

_BASE = 400 * 2**20  # bytes that a process has with torch and no program
_USED = 0.8  # share of a machine's memory that workers may plan for
_HALF = 0.5  # share of the free memory that a preset may plan for
_BATCHES = (32, 16, 8, 4, 2)


class Room:
    """What a program needs by its plan: for some of its targets (by name, with their layers; none
    of them: all), at the `sizes` that vary (default: those that it was traced at)."""

    def __init__(
        self, directory: Path, targets: Collection[str], sizes: Mapping[str, int] | None = None
    ) -> None:
        self.model = open_model(directory)
        self.model.sizes = {**self.model.sizes, **(sizes or {})}
        known = [i for i, code in enumerate(self.model.codes) if code.name in targets]
        self.codes = known or list(range(len(self.model.codes)))

    def peak(self, images: int, seeds: int, ledger: bool = True) -> int:
        """The bytes of a call for so many images and seeds, weights included."""
        after = self.model.forward(images)
        peaks = [self.model.timeline(i, seeds, after, ledger).peak for i in self.codes]
        return max(peaks) + self.model.weight_bytes


def apply_preset(
    args: argparse.Namespace, directory: Path, targets: Collection[str], seeds: int, device: str
) -> str:
    """Set `--batch-size` and `--seed-chunk` as `--preset` says; in words, what was chosen, "" where
    no preset was."""
    if args.preset is None:
        return ""
    room, free = Room(directory, targets), free_memory(device)
    args.batch_size, args.seed_chunk = 1, 1
    if args.preset == "high-throughput":
        args.seed_chunk = 0
        fits = (n for n in _BATCHES if room.peak(n, seeds) <= _HALF * free)
        args.batch_size = next(fits, 1)
    together = args.seed_chunk or seeds
    needs = room.peak(args.batch_size, together)
    images = count(args.batch_size, "image")
    return (
        f"{args.preset}: {images} and {count(together, 'seed')} at once,"
        f" {size(needs)} by the plan, {size(free)} are free"
    )


def free_memory(device: str) -> int:
    """The bytes that are free on a device."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(one for one in lines if one.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    return _memory() // 2


def on_cores(needs: int, cores: int, threads: int, memory: int | None = None) -> int:
    """How many workers of some threads fit in some cores and in memory (default: this machine's),
    one at least."""
    memory = memory or _memory()
    return max(1, min(cores // threads, int(_USED * memory) // (needs + _BASE)))


def on_gpu(needs: int) -> int:
    """How many workers fit on one GPU, one at least."""
    if not torch.cuda.is_available():
        return 1
    memory = torch.cuda.get_device_properties(0).total_memory
    return max(1, int(_USED * memory) // (needs + _BASE))


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
