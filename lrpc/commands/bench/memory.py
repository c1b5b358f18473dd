"""The most bytes that a call holds at once."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from lrpc.commands.bench.timing import finish


def allocated(device: str) -> int:
    """Bytes that tensors hold on a GPU; 0 on a CPU, where only changes can be seen."""
    if not device.startswith("cuda"):
        return 0
    gc.collect()
    finish(device)
    return torch.cuda.memory_allocated(device)


def peak(call: Callable[[], Any], device: str, before: int | None = None) -> int:
    """The most bytes that `call` has allocated at once, its result included.

    On a GPU as its allocator counts, beyond `before` (by default what is allocated now). On a CPU
    as torch's profile of its allocator tells: what libraries such as oneDNN allocate on their own
    is not seen.
    """
    if not device.startswith("cuda"):
        return _on_cpu(call)
    start = allocated(device) if before is None else before
    torch.cuda.reset_peak_memory_stats(device)
    call()
    finish(device)
    return torch.cuda.max_memory_allocated(device) - start


def _on_cpu(call: Callable[[], Any]) -> int:
    with (
        _garbage_stays(),
        _quiet(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler,
    ):
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = sorted(
        (event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]"
    )
    return max(accumulate(count for _, count in changes), default=0)


@contextlib.contextmanager
def _garbage_stays() -> Iterator[None]:
    """Tensors of before that nobody reaches any more are not freed inside, where only changes
    count."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The profiler's library writes to the process's standard error when it starts and stops, and
    where memory of before is given back."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages of some tensors, each once."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
