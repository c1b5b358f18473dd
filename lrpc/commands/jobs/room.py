"""How many workers a machine has room for, by the plan of the program."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from lrpc.commands.jobs.spec import Spec
from lrpc.program.memory_of import open_model

_BASE = 400 * 2**20  # bytes that a process has with torch and no program
_USED = 0.8  # share of a machine's memory that workers may plan for


def peak(spec: Spec, seeds: int, sizes: Mapping[str, int] | None = None) -> int:
    """The bytes that a worker needs by the plan, weights included: `options.batch_size` images and
    that many seeds at the `sizes` that vary (default: those that the program was traced at)."""
    model = open_model(spec.directory)
    model.sizes = {**model.sizes, **(sizes or {})}
    kinds = {one.name for one in spec.options.targets}
    codes = [i for i, code in enumerate(model.codes) if code.name in kinds]
    after = model.forward(spec.options.batch_size)
    ledger = spec.options.request.ledger
    peaks = [model.timeline(i, seeds, after, ledger).peak for i in codes]
    return max(peaks, default=0) + sum(kind.bytes for kind in model.weights.values())


def on_cores(needs: int, cores: int, threads: int, memory: int | None = None) -> int:
    """How many workers of some threads fit in some cores and in memory (default: this machine's),
    one at least."""
    memory = memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(cores // threads, int(_USED * memory) // (needs + _BASE)))


def on_gpu(needs: int) -> int:
    """How many workers fit on one GPU, one at least."""
    if not torch.cuda.is_available():
        return 1
    memory = torch.cuda.get_device_properties(0).total_memory
    return max(1, int(_USED * memory) // (needs + _BASE))
