"""Which results share memory, so that an in-place operation changes them all."""

from __future__ import annotations

from typing import Any

import torch

from lrpc.frontend.execute import execute
from lrpc.frontend.layout import Layout, layout
from lrpc.frontend.lowering.liveness import memory_roots
from lrpc.frontend.records import Call, Ref, Stored, found, mapped
from lrpc.ir.extents import Extent
from lrpc.ir.types import DTYPES, Sym, TensorType


class Memory:
    """Groups of results that share memory."""

    def __init__(self, calls: tuple[Call, ...]) -> None:
        self._roots = memory_roots(calls)
        self._calls = calls
        self._whole: list[int] = []  # the first result that is the same tensor
        for call in calls:
            same = call.same and call.view_of is not None
            self._whole.append(self._whole[call.view_of or 0] if same else call.index)
        self._groups: dict[int, list[int]] = {}
        for index, root in enumerate(self._roots):
            self._groups.setdefault(root, []).append(index)

    def group(self, index: int) -> list[int]:
        """All results that lie in the same memory as this one."""
        return self._groups[self._roots[index]]

    def equals(self, index: int) -> list[int]:
        """The results that are the same tensor as this one."""
        return [i for i in self.group(index) if self._whole[i] == self._whole[index]]

    def views_up(self, index: int) -> list[int]:
        """The view calls from this result's tensor up to the one that its memory belongs to."""
        chain = []
        at: int | None = self._whole[index]
        while at is not None and self._calls[at].view_of is not None:
            chain.append(at)
            at = self._whole[self._calls[at].view_of or 0]
        return chain


IMAGES = 10007
"""A batch size that is no other extent."""


def view_layout(view: Call, source: Call | None, whole: TensorType) -> Layout | None:
    """How a view lies in the tensor that it is of; None where that is not known. A part of several,
    as of a split, has a `source` that made them all."""
    made = view if source is None else source
    rest = (made.args[1:], made.kwargs)
    if any(isinstance(d, Extent) for d in whole.shape) or found(rest, Ref):
        return None
    if made.kind == "call_module" or any(isinstance(x, Stored) for x in found(rest, object)):
        return None
    shape = [d.at({"B": IMAGES, "K": 1}) if isinstance(d, Sym) else d for d in whole.shape]
    base = torch.empty(shape, dtype=DTYPES[whole.dtype], device="meta")
    args, kwargs = mapped(rest, Sym, lambda d: d.at({"B": IMAGES, "K": 1}))
    try:
        shown: Any = execute(made.kind, made.target, torch.nn.Module(), (base, *args), kwargs)
    except (RuntimeError, TypeError):
        return None
    if source is not None:
        shown = shown[view.args[1]]
    return layout(shape, shown.shape, shown.stride(), shown.storage_offset())
