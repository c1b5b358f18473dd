"""Which axes an operation mixes the entries of: none of them may hold the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrpc.ir.graph import Value
from lrpc.ir.ops import Trait, with_trait
from lrpc.ir.types import Dim

FROM_SECOND = with_trait(Trait.CHANNELS_FIRST) - with_trait(Trait.ELEMENTWISE)
"""Operations that mix every axis but the first, or channels and pixels in their windows."""


def mixed(op: str, inputs: Sequence[Value], attrs: Mapping[str, Any]) -> tuple[Dim, ...]:
    """The extents of the axes along which `op` mixes; of operations that take theirs by number,
    those whose rows do not look at it themselves."""
    if op in FROM_SECOND:
        return inputs[0].type.shape[1:]
    if op == "softmax":
        return (inputs[0].type.shape[attrs["dim"]],)
    if op == "matmul":
        return (inputs[0].type.shape[-1], inputs[1].type.shape[-2])
    if op == "multi_head_attention":  # tokens and channels, of queries, keys and values
        return tuple(extent for x in inputs[:3] for extent in x.type.shape[-2:])
    return ()
