"""Weights that rules compute from the model's, once for all targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType

from torch import Tensor


class Derived:
    """Computed weights by name, with what computed them: who asks for one again gets the same
    tensor, if what would compute it does the same on the same tensors."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Callable[[], Tensor], Tensor]] = {}

    def tensor(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives."""
        known, tensor = self._known.get(name, (None, None))
        if tensor is None or not same(known, make):
            tensor = make().contiguous()
            self._known[name] = make, tensor
        return tensor


def same(one: object, other: object) -> bool:
    """Whether two functions plainly compute the same: one code on the same tensors and numbers."""
    if one is other:
        return True
    if isinstance(one, partial) and isinstance(other, partial):
        named = bool(one.keywords or other.keywords)
        return not named and _all((one.func, *one.args), (other.func, *other.args))
    if isinstance(one, FunctionType) and isinstance(other, FunctionType):
        cells = [[cell.cell_contents for cell in f.__closure__ or ()] for f in (one, other)]
        return (
            one.__code__ is other.__code__
            and _all(cells[0], cells[1])
            and _all(one.__defaults__ or (), other.__defaults__ or ())
            and not (one.__kwdefaults__ or other.__kwdefaults__)
        )
    plain = (bool, int, float, str)
    return type(one) is type(other) and isinstance(one, plain) and repr(one) == repr(other)


def _all(some: Sequence[object], others: Sequence[object]) -> bool:
    return len(some) == len(others) and all(map(same, some, others))
