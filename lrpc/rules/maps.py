"""The linear map f_W of a node, and what it is once its weights are changed one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.errors import RuleError
from lrpc.ir import magnitudes
from lrpc.ir.extents import Extent
from lrpc.ir.graph import Node, Value
from lrpc.ir.ops import TABLE, Family, Trait, in_order, of_family, with_trait
from lrpc.ir.types import DTYPES, Dim, Sym
from lrpc.rules.context import Context
from lrpc.rules.structure import extent

# The maps of one operand that are taken apart here.
MAPS = in_order(
    of_family(Family.LINEAR, Family.CONVOLUTION, Family.INTERPOLATION)
    | {"batch_norm", "avg_pool2d"}
)

# Those with weights from every input channel to every output channel (of its group).
CHANNELS = in_order(of_family(Family.LINEAR, Family.CONVOLUTION))


@dataclass(frozen=True)
class Change:
    """A function c of single weights; `name` tells it from every other.

    Either c(v·w) = c(v)·c(w) for all v and w (`of_product`), or c(v·w) = v·c(w) for v ≥ 0.
    """

    name: str
    of: Callable[[Tensor], Tensor]
    of_product: bool = False


SAME = Change("", lambda w: w)
POSITIVE = Change("positive", lambda w: w.clamp(min=0))
NEGATIVE = Change("negative", lambda w: w.clamp(max=0))
MAGNITUDE = Change(magnitudes.KIND, torch.abs)
SQUARED = Change("squared", lambda w: w * w, of_product=True)
ONES = Change("ones", torch.ones_like, of_product=True)


def plus_positive(gamma: float) -> Change:
    """W + γW⁺."""
    return Change(f"gamma+{gamma!r}", lambda w: w + gamma * w.clamp(min=0)) if gamma else SAME


def apply(ctx: Context, node: Node, x: Value, change: Change = SAME) -> Value:
    """f_W(x) with changed weights and no bias, in the dtype of x; x [B or 1, *input], or broadcast
    over axes that the map leaves alone."""
    if node.op == "batch_norm":
        return ctx.op("mul", x, _batch_norm_scale(ctx, node, change))
    attrs: dict[str, Any] = {k: v for k, v in node.attrs if k != "bias"}
    if node.op == "avg_pool2d":
        return _pooled(ctx, node, ctx.op(node.op, x, **attrs), change)
    if node.op == "interpolate":
        if not _by_matrices(node, change):
            return ctx.scaled(ctx.op(node.op, x, **attrs), _factor(1.0, change))
        rows, columns = _matrices(ctx, node, change)
        return ctx.op("matmul", ctx.op("matmul", rows, x), _transposed(ctx, columns))
    return ctx.op(node.op, x, **attrs | {"weight": _weight(ctx, node, change, x)})


def apply_whole(ctx: Context, node: Node, x: Value, change: Change = SAME) -> Value:
    """f_W(x) + b with changed weights and bias."""
    name = _bias_name(ctx, node, change)
    if name is None:
        return apply(ctx, node, x, change)
    if node.op == "batch_norm":
        bias = _per_channel(ctx, node, name, node.out)
        return ctx.op("add", apply(ctx, node, x, change), bias)
    attrs: dict[str, Any] = dict(node.attrs) | {"weight": _weight(ctx, node, change, x)}
    return ctx.op(node.op, x, **attrs | {"bias": name})


def transpose(ctx: Context, node: Node, s: Value, change: Change = SAME) -> Value:
    """f_Wᵀ(s) with changed weights, in the dtype of s; s [K, B, …] → [K, *input]."""
    x = node.inputs[0]
    if node.op == "linear":
        return ctx.op("linear_transpose", s, weight=_weight(ctx, node, change, s))
    if node.op == "batch_norm":
        return ctx.op("mul", s, _batch_norm_scale(ctx, node, change))
    attrs: dict[str, Any] = {k: v for k, v in node.attrs if k != "bias"}
    by = 1.0
    if node.op == "interpolate":
        if _by_matrices(node, change):
            rows, columns = _matrices(ctx, node, change)
            return ctx.op("matmul", ctx.op("matmul", _transposed(ctx, rows), s), columns)
        by = _factor(1.0, change)
        attrs = {k: v for k, v in attrs.items() if k != "size"} | {"source": x.type.shape[-2:]}
    else:
        attrs["size"] = x.type.shape[1:]
    if node.op == "avg_pool2d":
        s = _pooled(ctx, node, s, change)
    if "weight" in attrs:
        attrs["weight"] = _weight(ctx, node, change, s)
    back = ctx.op(f"{node.op}_transpose", ctx.fold(s), **attrs)
    return ctx.scaled(ctx.unfold(back, x), by)


def bias_of(ctx: Context, node: Node, change: Change = SAME) -> Value | None:
    """The map's bias, changed, shaped to broadcast against its output; None where it has none."""
    name = _bias_name(ctx, node, change)
    return None if name is None else _per_channel(ctx, node, name, node.out)


def _bias_name(ctx: Context, node: Node, change: Change) -> str | None:
    if node.op == "batch_norm":
        name = _batch_norm_shift(ctx, node)
    elif node.attr("bias") is None:
        return None
    else:
        name = str(node.attr("bias"))
    return ctx.derived(name, change.name, change.of) if change.name else name


def entries(ctx: Context, node: Node, values: float | tuple[float, ...]) -> Value:
    """An input of the map that holds one number, or one for each channel; [1, *input]."""
    x = node.inputs[0]
    shape: tuple[Dim, ...] = tuple(1 if isinstance(d, Sym) else d for d in x.type.shape)
    if isinstance(values, float):
        return ctx.op("full", shape=shape, value=values, dtype=x.type.dtype)
    channels = shape[-1 if node.op == "linear" else 1]
    if len(values) != channels:
        raise RuleError(
            f"{len(values)} numbers given for {node.op} with {channels} input channels"
            f" ({node.loc}); give one number, or {channels}"
        )
    tensor = torch.tensor(values, dtype=DTYPES[x.type.dtype])
    text = ",".join(f"{value!r}" for value in values)
    name = ctx.made(f"@values:{text}:{x.type.dtype}", lambda: tensor)
    return ctx.op("expand", _per_channel(ctx, node, name, x), shape=shape)


def _per_channel(ctx: Context, node: Node, name: str, like: Value) -> Value:
    """A weight with an entry for each channel, shaped to broadcast against `like`."""
    value = ctx.constant(name)
    trailing = 0 if node.op == "linear" else like.type.rank - 2
    return ctx.reshape(value, (*value.type.shape, *(1,) * trailing))


def _weight(ctx: Context, node: Node, change: Change, like: Value) -> str:
    """The changed weight, in the dtype of `like`."""
    name, dtype = str(node.attr("weight")), like.type.dtype
    if ctx.tensors[name].dtype != DTYPES[dtype]:
        return ctx.derived(name, f"{change.name}:{dtype}", lambda w: change.of(w.to(DTYPES[dtype])))
    return ctx.derived(name, change.name, change.of) if change.name else name


# -- batch norm: diagonal --------------------------------------------------------------------------


def _batch_norm_scale(ctx: Context, node: Node, change: Change = SAME) -> Value:
    name = _scale_name(ctx, node)
    name = ctx.derived(name, change.name, change.of) if change.name else name
    return _per_channel(ctx, node, name, node.out)


def _scale_name(ctx: Context, node: Node) -> str:
    """The weight γ / √(var + ε)."""
    var, eps = str(node.attr("var")), node.number("eps")
    spread = torch.sqrt(ctx.tensors[var].double() + eps)
    return ctx.derived(
        str(node.attr("weight")), f"scale:{var}:{eps!r}", lambda w: (w.double() / spread).to(w)
    )


def _batch_norm_shift(ctx: Context, node: Node) -> str:
    """The weight β − mean·γ / √(var + ε)."""
    scale, mean = _scale_name(ctx, node), str(node.attr("mean"))
    shift = ctx.tensors[mean].double() * ctx.tensors[scale].double()
    return ctx.derived(
        str(node.attr("bias")), f"shift:{mean}:{scale}", lambda b: (b.double() - shift).to(b)
    )


# -- maps whose weights are numbers ----------------------------------------------------------------


def _factor(weight: float, change: Change) -> float:
    """c(w) / w."""
    return float(change.of(torch.tensor(weight, dtype=torch.float64))) / weight


def _pooled(ctx: Context, node: Node, z: Value, change: Change) -> Value:
    """`z` times c(w) / w, w the one weight that all inputs of an average have."""
    if not change.of_product:
        return ctx.scaled(z, _factor(1.0, change))
    if any(isinstance(extent(node.inputs[0], d), Extent) for d in (-2, -1)):
        raise RuleError(f"averages with padding under this rule take one size ({node.loc})")
    options = {k: v for k, v in node.attrs if k != "divisor"}
    ones = torch.ones(1, 1, *(extent(node.inputs[0], d) for d in (-2, -1)), dtype=torch.float64)
    dtype = node.out.type.dtype

    def make() -> Tensor:
        average = TABLE[node.op].reference
        share = average(ones, **dict(node.attrs)) / average(ones, **options, divisor=1)
        empty = torch.isnan(share)  # a window with nothing but padding
        return torch.where(empty, 0.0, change.of(share) / share).to(DTYPES[dtype])

    text = ":".join(str(v) for _, v in node.attrs).replace(" ", "")
    size = "x".join(map(str, ones.shape[-2:]))
    factors = ctx.constant(ctx.made(f"@average:{size}:{text}:{change.name}:{dtype}", make))
    return ctx.op("mul", z, factors)


def _by_matrices(node: Node, change: Change) -> bool:
    """Whether a changed interpolation is no multiple of itself. Nearest picks, with weights 1;
    bilinear weights are at least 0; bicubic ones have both signs."""
    if node.attr("mode") == "nearest" or not change.name:
        return False
    if change.of_product:
        return True
    if node.attr("mode") != "bilinear":
        raise RuleError(
            f"interpolate with mode {node.attr('mode')} ({node.loc}) has weights of both signs,"
            " which this rule cannot take apart; give it the rule epsilon"
        )
    return False


def _matrices(ctx: Context, node: Node, change: Change) -> tuple[Value, Value]:
    """(A, B) with f(x) = A x Bᵀ, an interpolation along rows and along columns, both changed."""
    return _matrix(ctx, node, -2, change), _matrix(ctx, node, -1, change)


def _matrix(ctx: Context, node: Node, axis: int, change: Change) -> Value:
    source, size = extent(node.inputs[0], axis), node.integers("size")[axis]
    mode, corners = str(node.attr("mode")), bool(node.attr("align_corners"))
    dtype = node.out.type.dtype

    def make() -> Tensor:
        unit = torch.eye(source, dtype=torch.float64)[:, None, :, None]
        columns = F.interpolate(unit, (size, 1), mode=mode, align_corners=corners)
        plain = columns[:, 0, :, 0].T
        return torch.where(plain == 0, 0.0, change.of(plain)).to(DTYPES[dtype])

    kind = f"{mode}{'-corners' if corners else ''}"
    return ctx.constant(ctx.made(f"@{kind}:{source}:{size}:{change.name}:{dtype}", make))


def _transposed(ctx: Context, matrix: Value) -> Value:
    return ctx.op("permute", matrix, dims=(1, 0))


# -- what is known of a value ----------------------------------------------------------------------

KEEP_SIGN = with_trait(Trait.KEEPS_SIGN)
NOT_NEGATIVE = with_trait(Trait.NOT_NEGATIVE)


def not_negative(ctx: Context, value: Value) -> bool:
    """Whether the graph alone says that no entry of `value` is below 0."""
    node = ctx.graph.producers.get(value.name)
    if node is None:
        return False
    if node.op in NOT_NEGATIVE:
        return True
    values = node.inputs[:1] if node.op == "gather" else node.inputs
    return (
        node.op in KEEP_SIGN
        and value == node.outputs[0]
        and all(not_negative(ctx, v) for v in values)
    )
