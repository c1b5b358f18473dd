"""Which results share memory, and what an in-place operation does to the others."""

from __future__ import annotations

from lrpc.frontend.lowering.liveness import memory_roots
from lrpc.frontend.records import Call


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

    def equals(self, index: int) -> list[int]:
        """The results that are the same tensor as this one."""
        return [i for i in self._groups[self._roots[index]] if self._whole[i] == self._whole[index]]

    def after_write(self, target: int, now: int) -> tuple[list[int], list[int]]:
        """Results so far that have to be taken anew, and those that cannot be, after a write.

        Views of the written tensor are taken anew from it. What the written tensor is itself a view
        of, and other views of that, cannot be.
        """
        stale, broken = [], []
        for index in self._groups[self._roots[target]]:
            if index < now and self._whole[index] != self._whole[target]:
                (stale if self._within(index, target) else broken).append(index)
        return stale, broken

    def _within(self, index: int | None, target: int) -> bool:
        while index is not None:
            if self._whole[index] == self._whole[target]:
                return True
            index = self._calls[self._whole[index]].view_of
        return False
