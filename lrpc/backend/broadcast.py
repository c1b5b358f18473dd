"""Which operands of elementwise operations are repeated along inner axes before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from math import prod

from lrpc.ir.ops import TABLE, Family, Trait, of_family, with_trait
from lrpc.ir.types import TensorType, concrete

_ELEMENTWISE = with_trait(Trait.ELEMENTWISE)
_ARITHMETIC = of_family(Family.SUM, Family.PRODUCT, Family.SCALING)
#: Sums, products and quotients of two operands.
BROADCAST = frozenset(name for name in _ELEMENTWISE & _ARITHMETIC if TABLE[name].arity == 2)
#: Entries of a run that vectors fill, and how often an operand is repeated at most.
LONG = 16
#: Results with fewer entries take no time.
MANY = 1 << 16


def repeated(own: TensorType, operands: Sequence[TensorType]) -> tuple[int, ...]:
    """The last axes to which one of the operands is worth repeating: none where runs of the result
    of `LONG` entries go with as many of its own, or with one."""
    dims = zip_longest(*(kind.shape[::-1] for kind in operands), fillvalue=1)
    result = [next((dim for dim in each if dim != 1), 1) for each in dims]
    entries = prod(concrete(dim, {"B": 1, "K": 1}) for dim in result)
    last: list[int] = []
    kinds: list[bool] = []
    for have, want in zip(reversed(own.shape), result, strict=False):
        if not isinstance(want, int) or prod(last) >= LONG:
            break
        last.insert(0, want)
        kinds += [have == want] * (want != 1)
    alone = prod(concrete(dim, {}) for dim in own.shape[len(own.shape) - len(last) :])
    mixed = len(set(kinds)) == 2 and entries >= MANY
    return tuple(last) if mixed and prod(last) <= LONG * alone else ()
