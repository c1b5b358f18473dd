"""What one expression of a program allocates: its emitted text run on meta tensors.

A meta tensor has a shape, strides and a storage of a size, and no data. Which results are views of
an input, which operands torch copies on the way, and what a kernel holds in between all follow
from running the very text that the program holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from lrpc.backend.sources import MODULES
from lrpc.ir.meta import Mode, by_formula, rows
from lrpc.ir.types import DTYPES, TensorType

META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class Strided:
    """A tensor's shape, strides and dtype."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    @staticmethod
    def of(tensor: Tensor) -> Strided:
        return Strided(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    @staticmethod
    def contiguous(kind: TensorType, sizes: Mapping[str, int]) -> Strided:
        """A tensor of this type laid out row by row."""
        shape = kind.sized(sizes)
        return Strided(shape, rows(shape), DTYPES[kind.dtype])

    def meta(self) -> Tensor:
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=META)

    def some(self, seeds: int, count: int) -> Strided:
        """The part of some of the seeds, which are in front."""
        first, *rest = self.shape
        return Strided((first // seeds * count, *rest), self.strides, self.dtype)

    @property
    def bytes(self) -> int:
        """The size of a storage that holds no more than this tensor."""
        if 0 in self.shape:
            return 0
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        return (last + 1) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Result:
    """One result: the input whose storage it shares, or the new storage that it lies in.

    Both are None where it lies in a weight.
    """

    kind: Strided
    shares: int | None
    new: int | None


#: What a state keeps beside its values: tensors by name.
Kept = tuple[tuple[str, tuple[Strided, ...]], ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """What an expression leaves and needs: its results, what it put into the state, the bytes of
    each new storage among them, and `most`, the most bytes that it holds at once beyond its inputs,
    its results included."""

    results: tuple[Result, ...]
    kept: tuple[tuple[str, tuple[Result, ...]], ...]
    new: tuple[int, ...]
    most: int

    @property
    def workspace(self) -> int:
        """Bytes held at the worst moment beyond the results."""
        return max(0, self.most - sum(self.new))


def _batch_norm(*args: Any) -> tuple[Tensor, ...]:
    """In use, torch keeps no statistics; its meta function gives their shapes all the same."""
    return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)


def _bags(*args: Any) -> tuple[Tensor, ...]:
    """torch's meta function has the sizes of two by-products the wrong way round. In float64 torch
    notes the bag of every entry, with room for one more."""
    out, _, sizes, _ = torch.ops.aten._embedding_bag_forward_only.default(*args)
    bags = args[1].numel() + 1 if out.dtype == torch.float64 else 0
    return out, sizes.new_empty(bags), sizes, torch.empty_like(sizes)


#: Operations that allocate something else than their meta functions say.
OTHERWISE: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.native_batch_norm.default: _batch_norm,
    torch.ops.aten._embedding_bag_forward_only.default: _bags,
}


class Storages(Mode):
    """Counts live bytes of the storages that operations inside allocate."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.before = {t.untyped_storage()._cdata for t in known}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        for key in [k for k, (ref, _) in self.alive.items() if ref.expired()]:  # type: ignore[no-untyped-call]
            del self.alive[key]
        kwargs = kwargs or {}
        own = OTHERWISE.get(func)
        out = own(*args, **kwargs) if own else by_formula(func, args, kwargs)
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self._note(tensor)
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return out

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.before and storage._cdata not in self.alive:
            ref = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            self.alive[storage._cdata] = (ref, storage.nbytes())


def _scope() -> dict[str, Any]:
    found: dict[str, Any] = {"torch": torch, "F": F, "device": META}
    for module in MODULES:
        found |= {k: v for k, v in vars(module).items() if not k.startswith("__")}
    return found


SCOPE = _scope()


@lru_cache(maxsize=65536)
def effect_of(
    text: str,
    inputs: tuple[Strided, ...],
    weights: tuple[Strided, ...] = (),
    images: int = 0,
    seeds: int = 0,
    kept: Kept = (),
    sizes: tuple[tuple[str, int], ...] = (),
) -> Effect:
    """The effect of `text` over x[0], x[1], …, w[0], w[1], … and the part k of the state, which
    holds what was `kept`; B is `images`, K `seeds`, others are in `sizes`."""
    x, w = [s.meta() for s in inputs], [s.meta() for s in weights]
    k: dict[str, tuple[Tensor, ...]] = {
        name: tuple(s.meta() for s in parts) for name, parts in kept
    }
    known, before = [*x, *w, *(t for parts in k.values() for t in parts)], set(k)
    with torch.no_grad(), Storages(known) as storages:
        own = {"x": x, "w": w, "k": k, "B": images, "K": seeds, **dict(sizes)}
        made = eval(_compiled(text), SCOPE, own)
    owners = {t.untyped_storage()._cdata: i for i, t in reversed(list(enumerate(x)))}
    places: dict[int, int] = {}
    new: list[int] = []

    def result(tensor: Tensor) -> Result:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in storages.alive and key not in places:
            places[key] = len(new)
            new.append(storage.nbytes())
        return Result(Strided.of(tensor), owners.get(key), places.get(key))

    results = tuple(map(result, made if isinstance(made, (tuple, list)) else [made]))
    more = tuple((name, tuple(map(result, k[name]))) for name in k if name not in before)
    return Effect(results, more, tuple(new), storages.most)


@lru_cache(maxsize=65536)
def _compiled(text: str) -> CodeType:
    return compile(text, "<expression>", "eval")
