"""The oracle of memory figures: storages that are alive while real code runs, counted by weak
references."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

#: Hands on a tensor that was just made from numbers, which the dispatcher has not seen.
FRESH = torch.ops.aten.lift_fresh.default


class Tracker(TorchDispatchMode):
    """Counts bytes of storages that the operations inside allocate; `peak` is the most at once.

    A storage counts from the operation that returns it until nothing refers to it. What a kernel
    allocates inside itself, out of the dispatcher's sight, is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, weakref.ref[UntypedStorage]] = {}  # by address, while they live
        self.live = 0
        self.peak = 0
        self.at = ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = [] if func is FRESH else [*args, *(kwargs or {}).values()]
        for tensor in _tensors(given):
            self._meet(tensor.untyped_storage(), 0)  # made outside: nothing of ours
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors([out]):
            storage = tensor.untyped_storage()
            self._meet(storage, storage.nbytes())
        if self.live > self.peak:
            self.peak, self.at = self.live, str(func)
        return out

    def _meet(self, storage: UntypedStorage, size: int) -> None:
        """Counts a storage that was not met before, until it dies."""
        address = storage._cdata
        if address in self.known:
            return

        def gone(_: object) -> None:
            del self.known[address]
            self.live -= size

        self.known[address] = weakref.ref(storage, gone)
        self.live += size


def _tensors(values: list[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(list(value))
    return found
