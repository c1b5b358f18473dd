"""Rows for attention, and for the other calls that tracing keeps whole: boxes around masks."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from lrpc.frontend.lowering import attention_layers, numbers
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.missing import Missing
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.ops.deformable import WEIGHTS
from lrpc.ir.types import whole

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
    tokens = _batch_first(c, (query, key, value), module.batch_first)
    wanted = need_weights and attention_layers.uses_weights(c)
    adds = any(_adds(c, mask) for mask in (attn_mask, key_padding_mask))
    if wanted or adds or not attention_layers.is_whole(module):
        given = attention_layers.Masks(attn_mask, key_padding_mask, average_attn_weights)
        out, shares = attention_layers.attend(c, tokens, given)
        return _turned(c, out), shares
    weights = {
        "in_weight": c.weight(c.own("in_proj_weight")),
        "in_bias": c.weight_or_none(c.own("in_proj_bias")),
        "out_weight": c.weight(c.own("out_proj.weight")),
        "out_bias": c.weight_or_none(c.own("out_proj.bias")),
    }
    masks = _masks(c, tokens, attn_mask, key_padding_mask, module.num_heads)
    out = c.op("multi_head_attention", *tokens, *masks, heads=module.num_heads, **weights)
    return _turned(c, out), Missing(f"the attention weights of {c.call.loc.module} are not needed")


def _turned(c: Context, out: Value) -> Value:
    """The output with tokens in front, where the module has it so."""
    first = c.call.target.batch_first or out.type.rank == 2
    return out if first else c.permute(out, (1, 0, 2))


def _adds(c: Context, mask: Operand) -> bool:
    """Whether a mask adds numbers to the scores, other than 0 and −inf."""
    if mask is None or c.type(mask).dtype == "bool":
        return False
    if isinstance(mask, Stored):
        return not bool(((mask.tensor == 0) | (mask.tensor == float("-inf"))).all())
    return _filled_by(c, mask) is None


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
        if mask is None or c.type(mask).dtype == "bool":
            return mask
        return _filled_with(c, mask)
    hidden = mask.tensor
    if hidden.dtype != torch.bool:
        hidden = hidden != 0
    return (
        c.constant(hidden) if bool(hidden.any()) and not mask.varies else _spread(c, mask, hidden)
    )


def _filled_with(c: Context, scores: Value) -> Value:
    """The mask by which `scores`, 0 elsewhere, were filled with −inf."""
    mask = _filled_by(c, scores)
    assert mask is not None
    return mask


def _filled_by(c: Context, scores: Operand) -> Value | None:
    filled = c.producers.get(scores)
    zero = None if filled is None or not filled.inputs else c.producers.get(filled.inputs[0])
    hides = filled is not None and filled.op == "masked_fill" and filled.attr("value") == -math.inf
    if filled is None or zero is None or not hides or (zero.op, zero.attr("value")) != ("full", 0):
        return None
    return filled.inputs[1]


def _spread(c: Context, mask: Stored, hidden: torch.Tensor) -> Operand:
    if not bool(hidden.any()):
        return None
    return c.expand(c.constant(hidden), mask.type.shape)


def dot_product_attention(
    c: Context, query: Operand, key: Operand, value: Operand, attn_mask: Operand = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False,
) -> Operand:  # fmt: skip
    """Scaled dot-product attention, in primitive operations."""
    if dropout_p:
        c.refuse("drops entries at random", "give dropout_p=0 unless self.training")
    keys, values = c.value(key), c.value(value)
    if enable_gqa:
        keys, values = (_for_each_head(c, x, c.size(query, -3)) for x in (keys, values))
    width = c.counted(query, -1)
    order = (*range(keys.type.rank - 2), keys.type.rank - 1, keys.type.rank - 2)
    scores = c.op("matmul", query, c.permute(keys, order))
    scores = c.op("scale", scores, by=width**-0.5 if scale is None else scale)
    if is_causal:
        attn_mask = numbers.triangle(c, c.size(query, -2), c.size(keys, -2))
    if attn_mask is None:
        return c.op("matmul", c.op("softmax", scores, dim=-1), values)
    if c.type(attn_mask).dtype != "bool":
        scores = c.op("add", scores, c.value(attn_mask, spread=False))
        return c.op("matmul", c.op("softmax", scores, dim=-1), values)
    return c.op("matmul", _masked_softmax(c, scores, attn_mask), values)


def _for_each_head(c: Context, x: Value, heads: int) -> Value:
    """Keys or values [..., groups, N, D] for each of the query heads: [..., heads, N, D]."""
    *lead, groups, rows, width = x.type.shape
    copies = heads // whole(groups)
    thin = c.reshape(x, (*lead, groups, 1, rows, width))
    wide = c.expand(thin, (*lead, groups, copies, rows, width))
    return c.reshape(wide, (*lead, heads, rows, width))


def _masked_softmax(c: Context, scores: Value, seen: Operand) -> Value:
    """Softmax over what is `seen`; a row that sees nothing is zero, as torch has it."""
    hidden = c.op("logical_not", c.value(seen, spread=False))
    blind = c.op("all", hidden, dims=(-1,), keepdim=True)
    hidden = c.op("logical", hidden, c.op("logical_not", blind), kind="and")
    shares = c.op("softmax", c.op("masked_fill", scores, hidden, value=float("-inf")), dim=-1)
    return c.op("masked_fill", shares, blind, value=0.0)


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
    if isinstance(shapes, Value) and (table := numbers.read(c, shapes)) is not None:
        return tuple((h, w) for h, w in zip(table[::2], table[1::2], strict=True))
    if isinstance(shapes, Value):
        c.refuse(
            "takes level shapes that depend on the inputs",
            "make them of sizes (shape) of the feature maps",
        )
    rows = shapes.tensor.tolist() if isinstance(shapes, Stored) else shapes
    return tuple((whole(h), whole(w)) for h, w in rows)


def masks_to_boxes(c: Context, masks: Operand, convention: str) -> Operand:
    return c.op("masks_to_boxes", masks, convention=convention)


ROWS: dict[str, Any] = {
    "MultiheadAttention": multi_head_attention,
    "scaled_dot_product_attention": dot_product_attention,
    "MSDeformAttn": deformable_attention,
    "masks_to_boxes": masks_to_boxes,
}
