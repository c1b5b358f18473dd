"""Numbers that stay as they are while their operand changes a little: whole numbers, places."""

from __future__ import annotations

import torch
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.ops.traits import Family
from lrpc.ir.ops.traits import Trait as T

KINDS = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "sign": torch.sign,
}


def _argsort(x: Tensor, dim: int, descending: bool) -> Tensor:
    """Where the entries in order were; of equal ones the first comes first."""
    return torch.sort(x, dim=dim, descending=descending, stable=True)[1]


def _last_place(index: Tensor, dim: int, size: int) -> Tensor:
    """Where along an axis of an index each place below `size` comes last; -1 where it does not."""
    shape = list(index.shape)
    shape[dim] = size
    counts = torch.arange(index.shape[dim], device=index.device)
    along = counts.reshape(-1, *(1,) * (index.dim() - 1 - dim % index.dim())).expand(index.shape)
    nowhere = torch.full(shape, -1, device=index.device)
    return nowhere.scatter_reduce(dim, index, along, "amax")


ROWS = (
    Op("rounded", 1, {"kind": "|".join(KINDS)}, lambda x, kind: KINDS[kind](x), Family.STEP,
       T.ALLOCATES | T.ELEMENTWISE | T.CHEAP),
    Op("argsort", 1, {"dim": "axis", "descending": "bool"}, _argsort, Family.STEP, T.CHOOSES),
    Op("last_place", 1, {"dim": "axis", "size": "int"}, _last_place, Family.STEP),
)  # fmt: skip
