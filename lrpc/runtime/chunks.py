"""Takes some of the seeds at a time through a function, so that what the function needs beside them
is there once for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def in_chunks(
    chunk: int,
    seeds: int,
    function: Callable[..., Any],
    *given: Tensor,
    same: tuple[int, ...] = (),
    ledger: list[Tensor] | None = None,
) -> Any:
    """`function(K, *given)` for K of the `seeds` at a time; its results put together again.

    Seeds are in front in `given` and in the results, but for the results at `same`, which do not
    depend on them. The function takes the ledger, if there is one, after K.
    """
    if seeds <= chunk:
        return function(seeds, ledger, *given)
    whole: list[Tensor] = []
    rows: list[list[Tensor]] = []
    single = False
    for first in range(0, seeds, chunk):
        count = min(chunk, seeds - first)
        own: list[Tensor] | None = None if ledger is None else []
        made = function(count, own, *(_chunk_of(t, seeds, first, count) for t in given))
        rows += [] if own is None else [own]
        if isinstance(made, Tensor):
            made, single = (made,), True
        if not whole and made is not None:
            whole = [_room_for(t, i in same, seeds, count) for i, t in enumerate(made)]
        for i in range(len(whole)):
            if i not in same:
                _chunk_of(whole[i], seeds, first, count).copy_(made[i])
        del made
    if ledger is not None:
        ledger += [torch.cat(parts) for parts in zip(*rows, strict=True)]
    return whole[0] if single else tuple(whole) if whole else None


def _chunk_of(tensor: Tensor, seeds: int, first: int, count: int) -> Tensor:
    """The part of some of the seeds."""
    rows = tensor.shape[0] // seeds
    return tensor[first * rows : (first + count) * rows]


def _room_for(tensor: Tensor, same: bool, seeds: int, count: int) -> Tensor:
    """Room for all seeds, where `tensor` is of `count`."""
    shape = (tensor.shape[0] // count * seeds, *tensor.shape[1:])
    return tensor if same else tensor.new_empty(shape)
