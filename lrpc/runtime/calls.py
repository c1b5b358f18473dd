"""How a program runs its generated functions: as they are, or through torch.compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Saved = dict[str, dict[str, Any]]
Function = Callable[..., dict[str, Tensor]]


class Calls:
    """Runs the functions of a program as they are written."""

    def forward(
        self,
        function: Function,
        weights: Mapping[str, Tensor],
        blocks: Sequence[str],
        inputs: Sequence[Tensor],
    ) -> tuple[dict[str, Tensor], Saved]:
        """The outputs by name, and what the pass saves, by block."""
        saved: Saved = {name: {} for name in blocks}
        return self.run(function, weights, saved, *inputs), saved

    def relevance(
        self,
        function: Function,
        weights: Mapping[str, Tensor],
        saved: Saved,
        given: Sequence[Tensor],
        places: frozenset[str],
        ledger: bool,
        chunk: int = 0,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Relevance at `places` by name from what is `given`, G [K, ...] and the masks of
        conditions; and the amounts that a ledger books.
        `chunk` is for functions that take the seeds through blocks so many at a time."""
        amounts: list[Tensor] = []
        more = [*([chunk] if chunk else []), amounts if ledger else None]
        return self.run(function, weights, saved, *given, places, *more), amounts

    def check(self, saved: Saved) -> None:
        """Refuse what an earlier forward pass saved, where it is not there any more."""

    def run(self, function: Function, *arguments: Any) -> dict[str, Tensor]:
        """One call of a generated function."""
        return function(*arguments)


class Compiled(Calls):
    """Runs them through torch.compile, whole and for fixed shapes.

    Each function is compiled when it is first called, and anew for every other shape of its
    arguments, for other places, and once more when it finds what an earlier call on the same state
    has worked out (the sampling entries by row). However many these are, none runs uncompiled.
    """

    def __init__(self, backend: str = "inductor") -> None:
        self.backend = backend
        self.known: dict[Function, Function] = {}

    def run(self, function: Function, *arguments: Any) -> dict[str, Tensor]:
        """One call of a generated function, compiled first where it has not been yet."""
        if function not in self.known:
            self.known[function] = torch.compile(
                function, fullgraph=True, dynamic=False, backend=self.backend
            )
        many: Any = {"recompile_limit": 4096, "accumulated_recompile_limit": 65536}
        with torch._dynamo.config.patch(many):
            return self.known[function](*arguments)
