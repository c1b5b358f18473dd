"""Which results share memory, so that an in-place operation changes them all."""

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
