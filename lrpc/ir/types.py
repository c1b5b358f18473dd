"""Tensor types: a dtype and a shape of integers, which may depend on sizes, times B (batch) and K
(seeds)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lrpc.ir.extents import at, terms_of

DTYPES: dict[str, torch.dtype] = {
    "f64": torch.float64,
    "f32": torch.float32,
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "i64": torch.int64,
    "i32": torch.int32,
    "u8": torch.uint8,
    "bool": torch.bool,
}
NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}

Sizes = Mapping[str, int]  # of B, of K, and of an image where extents depend on that


@dataclass(frozen=True, slots=True)
class Sym:
    """A symbolic extent `coeff · B^batch · K^seeds`."""

    coeff: int = 1
    batch: int = 0
    seeds: int = 0

    def __mul__(self, other: Dim) -> Sym:
        o = other if isinstance(other, Sym) else Sym(other)
        return Sym(self.coeff * o.coeff, self.batch + o.batch, self.seeds + o.seeds)

    __rmul__ = __mul__

    def at(self, sizes: Sizes) -> int:
        """The extent for given sizes of B and K; an absent one is an error of the caller."""
        value = at(self.coeff, sizes)
        for power, name in ((self.batch, "B"), (self.seeds, "K")):
            if power:
                value *= int(sizes[name] ** power)
        return value

    def __str__(self) -> str:
        parts = ["K"] * self.seeds + ["B"] * self.batch
        if self.coeff == 1:
            return "*".join(parts)
        own = f"({self.coeff})" if len(terms_of(self.coeff)) > 1 else str(self.coeff)
        return "*".join([own, *parts])


Dim = int | Sym
B = Sym(batch=1)
K = Sym(seeds=1)


def whole(dim: Dim) -> int:
    """An extent without B and K in it; TypeError for others."""
    if not isinstance(dim, int):
        raise TypeError(f"an extent of {dim} is no integer")
    return dim


def concrete(dim: Dim, sizes: Sizes) -> int:
    """The extent of `dim` for given sizes of B and K."""
    return at(dim, sizes) if isinstance(dim, int) else dim.at(sizes)


@dataclass(frozen=True, slots=True)
class TensorType:
    """A dtype name (`f32`, `i64`, …) and a shape."""

    dtype: str
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return DTYPES[self.dtype].is_floating_point

    def sized(self, sizes: Sizes) -> tuple[int, ...]:
        """The concrete shape for given sizes of B and K."""
        return tuple(concrete(d, sizes) for d in self.shape)

    def meta(self, sizes: Sizes) -> torch.Tensor:
        """A meta tensor of this type, for given sizes of B and K."""
        return torch.empty(self.sized(sizes), dtype=DTYPES[self.dtype], device="meta")

    @property
    def seeded(self) -> bool:
        """Whether it has an entry for each seed."""
        return any(isinstance(d, Sym) and d.seeds for d in self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def type_of(tensor: torch.Tensor) -> TensorType:
    """The type of a tensor as it is: its extents are integers."""
    return TensorType(NAMES[tensor.dtype], tuple(tensor.shape))
