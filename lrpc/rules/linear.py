"""Rules for linear maps: linear, convolution, transposed convolution, interpolation, pooling by
average."""

from __future__ import annotations

from typing import Any

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param

LINEAR = ("linear", "conv2d", "conv_transpose2d", "batch_norm", "interpolate", "avg_pool2d")
BIAS = Param(
    "bias",
    "absorb",
    words=("absorb", "excluded"),
    meaning="whether b takes its share of the relevance, or stays out of the denominator",
)


def transpose(ctx: Context, node: Node, s: Value) -> Value:
    """f_Wᵀ(s) for the linear map of `node`; s [K, B, …] → [K, *input]."""
    x = node.inputs[0]
    if node.op == "linear":
        return ctx.op("linear_transpose", s, weight=node.attr("weight"))
    if node.op == "batch_norm":
        return ctx.op("mul", s, _batch_norm_scale(ctx, node))
    attrs: dict[str, Any] = {k: v for k, v in node.attrs if k != "bias"}
    if node.op == "interpolate":
        attrs = {k: v for k, v in attrs.items() if k != "size"} | {"source": x.type.shape[-2:]}
    else:
        attrs["size"] = x.type.shape[1:]
    return ctx.unfold(ctx.op(f"{node.op}_transpose", ctx.fold(s), **attrs), x)


def bias_of(ctx: Context, node: Node) -> Value | None:
    """The map's bias, shaped to broadcast against its output; None where it has none."""
    if node.op == "batch_norm":
        mean, scale = ctx.constant(str(node.attr("mean"))), _batch_norm_scale(ctx, node)
        shape = scale.type.shape
        bias = ctx.reshape(ctx.constant(str(node.attr("bias"))), shape)
        return ctx.op("sub", bias, ctx.op("mul", ctx.reshape(mean, shape), scale))
    name = node.attr("bias")
    if name is None:
        return None
    bias = ctx.constant(str(name))
    trailing = 0 if node.op == "linear" else node.out.type.rank - 2
    return ctx.reshape(bias, (*bias.type.shape, *(1,) * trailing))


def _batch_norm_scale(ctx: Context, node: Node) -> Value:
    eps = node.attr("eps")
    var = ctx.op("shift", ctx.constant(str(node.attr("var"))), by=eps)
    scale = ctx.op("div", ctx.constant(str(node.attr("weight"))), ctx.op("sqrt", var))
    return ctx.reshape(scale, (*scale.type.shape, *(1,) * (node.out.type.rank - 2)))


def epsilon(ctx: Context, node: Node, rule: Rule) -> None:
    z, g, eps = node.out, ctx.g(node), rule.number("eps")
    bias = None
    if rule.word("bias", "absorb") == "excluded" and (bias := bias_of(ctx, node)) is not None:
        pure = ctx.op("sub", z, bias)
        s = ctx.op("mul", g, ctx.op("ratio", z, pure, eps=eps))
        if ctx.ledger:
            ctx.lose("epsilon", g, z)
            ctx.record("epsilon", s, pure, negative=True)
    else:
        s = ctx.stabilised(g, z, eps)
        if ctx.ledger and (bias := bias_of(ctx, node)) is not None:
            ctx.lose("bias", s, bias)
    ctx.give(node.inputs[0], transpose(ctx, node, s))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g = ctx.g(node)
    if ctx.ledger and (bias := bias_of(ctx, node)) is not None:
        ctx.lose("bias", g, bias)
    ctx.give(node.inputs[0], transpose(ctx, node, g))


RULES = (
    Declaration(
        "epsilon",
        LINEAR,
        epsilon,
        "R_x = x ⊙ f_Wᵀ(R_z / stab_ε(f_W(x) + b))",
        "Bach et al. 2015, eq. 58 (10.1371/journal.pone.0130140)",
        "all but the bias's share and ε's",
        (EPS, BIAS),
    ),
    Declaration(
        "gradient_input",
        LINEAR,
        gradient_input,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "nothing is redistributed; equals epsilon at ε = 0 on one linear map",
    ),
)
