"""nn.MultiheadAttention in primitive operations: where its weights are used, or it has more than
queries, keys and values of one width."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.records import Ref, Stored
from lrpc.ir.graph import Value
from lrpc.ir.types import Dim


@dataclass(frozen=True)
class Masks:
    """What is added to the scores or hides them; None where there is none."""

    scores: Operand = None
    padding: Operand = None
    average: bool = True


def uses_weights(c: Context) -> bool:
    """Whether the second result of the current call is used."""
    return any(
        call.index in c.live and call.args[:1] == (Ref(c.call.index),) and call.args[1] == 1
        for call in c.calls
        if call.name == "getitem"
    )


def is_whole(module: nn.MultiheadAttention) -> bool:
    """Whether queries, keys and values have one width, and nothing is added to them."""
    extra = module.bias_k is not None or module.add_zero_attn
    return bool(module._qkv_same_embed_dim) and not extra


def attend(c: Context, tokens: list[Value], masks: Masks) -> tuple[Value, Value]:
    """The output [B, Q, E] and the weights [B, Q, K], or [B, H, Q, K] if not averaged."""
    module: nn.MultiheadAttention = c.call.target
    heads = module.num_heads
    query, key, value = _projected(c, tokens)
    key, value, more = _with_extra(c, key, value)
    q, k, v = (_by_head(c, x, heads) for x in (query, key, value))
    order = (*range(k.type.rank - 2), k.type.rank - 1, k.type.rank - 2)
    scores = c.op("matmul", q, c.permute(k, order))
    scores = c.op("scale", scores, by=c.size(q, -1) ** -0.5)
    scores = _masked(c, scores, masks.scores, heads, more)
    if masks.padding is not None:
        batch, keys = c.type(masks.padding).shape
        scores = _hidden(c, scores, c.reshape(masks.padding, (batch, 1, 1, keys)), more)
    weights = c.op("softmax", scores, dim=-1)
    mixed = c.op("matmul", weights, v)
    out = c.op("linear", _joined(c, mixed), weight=c.weight(c.own("out_proj.weight")),
               bias=c.weight_or_none(c.own("out_proj.bias")))  # fmt: skip
    if masks.average:
        weights = c.op("mean", weights, dims=(-3,), keepdim=False)
    return out, weights


def _projected(c: Context, tokens: list[Value]) -> list[Value]:
    module: nn.MultiheadAttention = c.call.target
    if module._qkv_same_embed_dim:
        whole = c.own("in_proj_weight")
        assert whole is not None
        parts = [_third(whole, i) for i in range(3)]
    else:
        named = [c.own(f"{name}_proj_weight") for name in "qkv"]
        parts = [weight for weight in named if weight is not None]
    bias = c.own("in_proj_bias")
    return [
        c.op(
            "linear", x, weight=c.weight(w),
            bias=None if bias is None else c.weight(_third(bias, i)),
        )
        for i, (x, w) in enumerate(zip(tokens, parts, strict=True))
    ]  # fmt: skip


def _third(whole: Stored, i: int) -> Stored:
    part = whole.tensor.chunk(3)[i]
    kind = type(whole.type)(whole.type.dtype, tuple(part.shape))
    return Stored(f"{whole.name}@{'qkv'[i]}", part, kind)


def _with_extra(c: Context, key: Value, value: Value) -> tuple[Value, Value, int]:
    """Keys and values with those that the module adds, and how many these are."""
    module: nn.MultiheadAttention = c.call.target
    before = key.type.shape[-2]
    lead = key.type.shape[:-2]
    if module.bias_k is not None:
        own = [_one(c, c.own(name), lead) for name in ("bias_k", "bias_v")]
        key, value = (c.op("cat", x, y, dim=-2) for x, y in zip((key, value), own, strict=True))
    if module.add_zero_attn:
        shape = (*lead, 1, key.type.shape[-1])
        nothing = c.op("full", shape=shape, value=0.0, dtype=key.type.dtype)
        key, value = (c.op("cat", x, nothing, dim=-2) for x in (key, value))
    return key, value, c.fixed(key.type.shape[-2]) - c.fixed(before)


def _one(c: Context, x: Operand, lead: tuple[Dim, ...]) -> Value:
    """A token [1, 1, E] for every image."""
    width = c.type(x).shape[-1]
    return c.expand(c.reshape(x, (*(1,) * len(lead), 1, width)), (*lead, 1, width))


def _by_head(c: Context, x: Value, heads: int) -> Value:
    *lead, rows, width = x.type.shape
    parts = c.reshape(x, (*lead, rows, heads, c.fixed(width) // heads))
    n = len(lead)
    return c.permute(parts, (*range(n), n + 1, n, n + 2))


def _joined(c: Context, x: Value) -> Value:
    *lead, heads, rows, width = x.type.shape
    n = len(lead)
    turned = c.permute(x, (*range(n), n + 1, n, n + 2))
    return c.reshape(turned, (*lead, rows, c.fixed(heads) * c.fixed(width)))


def _masked(c: Context, scores: Value, mask: Operand, heads: int, more: int) -> Value:
    if mask is None:
        return scores
    shape = c.type(mask).shape
    if len(shape) == 3 and scores.type.rank == 4:
        mask = c.reshape(c.value(mask), (scores.type.shape[0], heads, *shape[1:]))
    return _hidden(c, scores, mask, more)


def _hidden(c: Context, scores: Value, mask: Operand, more: int) -> Value:
    value = c.value(mask, spread=False)
    boolean = value.type.dtype == "bool"
    if more:
        value = c.op("pad", value, pad=(0, more), value=0.0)
    if boolean:
        return c.op("masked_fill", scores, value, value=-math.inf)
    return c.op("add", scores, c.cast(value, scores.type.dtype))
