"""TF32 on a machine without it: operands of matrix products keep ten bits of their mantissa."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
# Which arguments of each product are multiplied.
_OPERANDS: dict[object, tuple[int, ...]] = {
    _ATEN.mm.default: (0, 1),
    _ATEN.bmm.default: (0, 1),
    _ATEN.addmm.default: (1, 2),
    _ATEN.baddbmm.default: (1, 2),
    _ATEN.convolution.default: (0, 1),
    _ATEN.convolution_backward.default: (0, 2),
}


def rounded(x: Tensor) -> Tensor:
    """`x`, float32, to the nearest number with ten bits of mantissa, ties to even."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32).reshape(x.shape)


class Tf32(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it, products of float32 tensors round their operands as TF32 hardware does."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = list(args)
        for i in _OPERANDS.get(func, ()):
            if given[i].dtype == torch.float32:
                given[i] = rounded(given[i])
        return func(*given, **(kwargs or {}))
