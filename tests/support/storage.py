"""The oracle of memory figures: storages that are alive while real code runs, counted by weak
references."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
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
        self.seen: dict[int, StorageWeakRef] = {}
        self.bytes: dict[int, int] = {}
        self.outside: dict[int, StorageWeakRef] = {}
        self.peak = 0
        self.at = ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self._forget()
        given = [] if func is FRESH else [*args, *(kwargs or {}).values()]
        for tensor in _tensors(given):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.seen:
                self.outside[storage._cdata] = StorageWeakRef(storage)
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors([out]):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.seen and storage._cdata not in self.outside:
                self.seen[storage._cdata] = StorageWeakRef(storage)
                self.bytes[storage._cdata] = storage.nbytes()
        if sum(self.bytes.values()) > self.peak:
            self.peak, self.at = sum(self.bytes.values()), str(func)
        return out

    @property
    def live(self) -> int:
        self._forget()
        return sum(self.bytes.values())

    def _forget(self) -> None:
        for key in [k for k, ref in self.seen.items() if ref.expired()]:
            del self.seen[key], self.bytes[key]
        for key in [k for k, ref in self.outside.items() if ref.expired()]:
            del self.outside[key]


def _tensors(values: list[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(list(value))
    return found
