"""Rows for the calls that tracing keeps whole: both attentions, and boxes around masks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lrpc.frontend.lowering.context import Context, Missing, Operand
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.ops.deformable import WEIGHTS

PARTS = {
    "value": "value_proj",
    "offset": "sampling_offsets",
    "attention": "attention_weights",
    "output": "output_proj",
}


def multi_head_attention(
    c: Context, query: Operand, key: Operand, value: Operand, key_padding_mask: Operand = None,
    need_weights: bool = True, attn_mask: Operand = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Operand:  # fmt: skip
    module: nn.MultiheadAttention = c.call.target
    if not module._qkv_same_embed_dim or module.bias_k is not None or module.add_zero_attn:
        c.refuse("has keys or values of another width, or extra ones")
    weights = {
        "in_weight": c.weight(c.own("in_proj_weight")),
        "in_bias": c.weight_or_none(c.own("in_proj_bias")),
        "out_weight": c.weight(c.own("out_proj.weight")),
        "out_bias": c.weight_or_none(c.own("out_proj.bias")),
    }
    tokens = _batch_first(c, (query, key, value), module.batch_first)
    masks = _masks(c, tokens, attn_mask, key_padding_mask, module.num_heads)
    out = c.op("multi_head_attention", *tokens, *masks, heads=module.num_heads, **weights)
    if not module.batch_first and out.type.rank == 3:
        out = c.permute(out, (1, 0, 2))
    return out, Missing(f"the attention weights that {c.call.loc.module} returns are not compiled")


def _batch_first(c: Context, tokens: tuple[Operand, ...], already: bool) -> list[Value]:
    turned: dict[Value, Value] = {}
    for x in (c.value(t) for t in tokens):
        if x not in turned:
            turned[x] = x if already or x.type.rank == 2 else c.permute(x, (1, 0, 2))
    return [turned[c.value(t)] for t in tokens]


def _masks(
    c: Context, tokens: list[Value], attn_mask: Operand, padding: Operand, heads: int
) -> list[Value]:
    """One boolean mask [B or 1, heads or 1, Q or 1, K], True where a key is hidden; or none."""
    found = []
    if (mask := _as_bool(c, attn_mask)) is not None:
        shape = c.type(mask).shape
        if len(shape) == 3:
            shape = (tokens[0].type.shape[0], heads, *shape[1:])
        found.append(c.reshape(c.value(mask, spread=len(shape) == 4), shape))
    if (mask := _as_bool(c, padding)) is not None:
        value = c.value(mask)
        batch, keys = value.type.shape
        found.append(c.reshape(value, (batch, 1, 1, keys)))
    return [c.op("logical", *found, kind="or")] if len(found) == 2 else found


def _as_bool(c: Context, mask: Operand) -> Operand:
    """A mask as booleans; None where it hides nothing."""
    if not isinstance(mask, Stored):
        if mask is not None and c.type(mask).dtype != "bool":
            c.refuse("adds a traced mask to its scores")
        return mask
    hidden = mask.tensor
    if hidden.dtype != torch.bool:
        if not bool(((hidden == 0) | (hidden == float("-inf"))).all()):
            c.refuse("adds numbers to its scores")
        hidden = hidden != 0
    return (
        c.constant(hidden) if bool(hidden.any()) and not mask.varies else _spread(c, mask, hidden)
    )


def _spread(c: Context, mask: Stored, hidden: torch.Tensor) -> Operand:
    if not bool(hidden.any()):
        return None
    return c.expand(c.constant(hidden), mask.type.shape)


def deformable_attention(
    c: Context, query: Operand, reference_points: Operand, input_flatten: Operand,
    input_spatial_shapes: Operand, input_level_start_index: Operand = None,
    input_padding_mask: Operand = None,
) -> Operand:  # fmt: skip
    module: Any = c.call.target
    weights = {}
    for name in WEIGHTS:
        part, kind = name.split("_")
        weights[name] = c.weight(c.own(f"{PARTS[part]}.{kind}"))
    inputs = [query, reference_points, input_flatten]
    if not (isinstance(input_padding_mask, Stored) and not bool(input_padding_mask.tensor.any())):
        inputs += [] if input_padding_mask is None else [input_padding_mask]
    values = [c.value(x, spread=x is not reference_points) for x in inputs]
    return c.op(
        "deformable_attention", *values, heads=module.n_heads, points=module.n_points,
        levels=_levels(c, input_spatial_shapes), **weights,
    )  # fmt: skip


def _levels(c: Context, shapes: Operand) -> tuple[tuple[int, int], ...]:
    if isinstance(shapes, Value):
        c.refuse("takes level shapes that depend on the inputs")
    rows = shapes.tensor.tolist() if isinstance(shapes, Stored) else shapes
    return tuple((int(h), int(w)) for h, w in rows)


def masks_to_boxes(c: Context, masks: Operand, convention: str) -> Operand:
    return c.op("masks_to_boxes", masks, convention=convention)


ROWS: dict[str, Any] = {
    "MultiheadAttention": multi_head_attention,
    "MSDeformAttn": deformable_attention,
    "masks_to_boxes": masks_to_boxes,
}
