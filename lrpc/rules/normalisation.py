"""Rules for LayerNorm and GroupNorm, y = γ ⊙ (x − μ)/σ + β, and those that RMSNorm (μ = 0) shares.

A row is what is normalised together: the last axis of a token, or a group of channels.
"""

from __future__ import annotations

import math

import torch

from lrpc.ir.graph import Node, Rule, Value
from lrpc.ir.types import K
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration
from lrpc.rules.linear import SPREAD
from lrpc.rules.structure import extent

NORMS = ("layer_norm", "group_norm")
ALL_NORMS = (*NORMS, "rms_norm")


def _transposed(ctx: Context, node: Node, s: Value) -> Value:
    """diag(γ/σ)(I − 11ᵀ/n) transposed, σ constant."""
    groups = node.attr("groups", 0)
    rstd = ctx.op("rstd", node.inputs[0], eps=node.attr("eps"), groups=groups)
    if node.op == "layer_norm":
        return ctx.op("layer_norm_transpose", s, rstd, weight=node.attr("weight"))
    return ctx.op("group_norm_transpose", s, rstd, weight=node.attr("weight"), groups=groups)


def _affine(ctx: Context, node: Node, key: str) -> Value | None:
    """γ (`weight`) or β (`bias`), shaped to broadcast against the output; None where there is
    none."""
    name = node.attr(key)
    if name is None:
        return None
    found = ctx.constant(str(name))
    trailing = node.out.type.rank - 2 if node.op == "group_norm" else 0
    return ctx.reshape(found, (*found.type.shape, *(1,) * trailing))


def _rows(ctx: Context, node: Node, x: Value) -> Value:
    """`x`, K in front or not, with what is normalised together along the last axis."""
    groups, z = node.attr("groups"), node.out
    if not isinstance(groups, int):
        return x
    size = math.prod(extent(z, d) for d in range(1, z.type.rank)) // groups
    lead = x.type.shape[: x.type.rank - z.type.rank + 1]
    return ctx.reshape(x, (*lead, groups, size))


def _centred(ctx: Context, node: Node) -> Value:
    """x − μ in rows."""
    rows = _rows(ctx, node, ctx.wide(node.inputs[0]))
    if node.op == "rms_norm":
        return rows
    return ctx.op("sub", rows, ctx.op("mean", rows, dims=(-1,), keepdim=True))


def _scaled(ctx: Context, node: Node, g: Value) -> Value:
    """γ/σ ⊙ g for g of the input's shape, K in front or not; in float32 at least."""
    x = ctx.wide(node.inputs[0])
    if node.op == "rms_norm":
        scale = ctx.op("reciprocal_rms", x, eps=node.attr("eps"))
    else:
        scale = ctx.op("rstd", x, eps=node.attr("eps"), groups=node.attr("groups", 0))
    rows = ctx.op("mul", _rows(ctx, node, ctx.wide(g)), scale)
    scaled, gain = ctx.reshape(rows, g.type.shape), _affine(ctx, node, "weight")
    return scaled if gain is None else ctx.op("mul", scaled, ctx.wide(gain))


def _gradient(ctx: Context, node: Node, g: Value) -> Value:
    """Jᵀ g for the whole Jacobian, σ and μ included."""
    x, weight = ctx.wide(node.inputs[0]), node.attr("weight")
    if node.op != "rms_norm":
        gain = None if weight is None else _wide_weight(ctx, str(weight))
        groups, eps = node.attr("groups", 0), node.attr("eps")
        return ctx.op("norm_gradient", g, x, weight=gain, groups=groups, eps=eps)
    scaled = _scaled(ctx, node, g)
    unit = ctx.op("mul", x, ctx.op("reciprocal_rms", x, eps=node.attr("eps")))
    along = ctx.op("mean", ctx.op("mul", scaled, unit), dims=(-1,), keepdim=True)
    return ctx.op("sub", scaled, ctx.op("mul", unit, along))


def _wide_weight(ctx: Context, name: str) -> str:
    half = ctx.tensors[name].dtype in (torch.float16, torch.bfloat16)
    return ctx.derived(name, "f32", torch.Tensor.float) if half else name


def detach_sigma(ctx: Context, node: Node, rule: Rule) -> None:
    eps, how = rule.number("eps"), rule.word("bias", "absorb")
    beta = _affine(ctx, node, "bias")
    if beta is not None and how == "excluded":
        pure = ctx.op("sub", ctx.output(node), beta)
        s = ctx.divided(node, pure, eps)
        if ctx.ledger:
            ctx.absorb_all(node, "epsilon")
            ctx.record("epsilon", s, pure, negative=True)
    else:
        s = ctx.per_output(node, eps)
        if beta is not None and how == "absorb":
            ctx.absorb("bias", s, beta)
    ctx.propagate(node.inputs[0], _transposed(ctx, node, s))
    if beta is not None and how == "spread":
        _spread(ctx, node, ctx.op("mul", s, beta))


def _spread(ctx: Context, node: Node, r: Value) -> None:
    """Relevance of the outputs, in equal parts to all inputs of its row."""
    rows, x = _rows(ctx, node, r), node.inputs[0]
    mean = ctx.op("mean", rows, dims=(-1,), keepdim=True)
    ones = ctx.op("full", shape=(1,) * (rows.type.rank - 1) + rows.type.shape[-1:],
        value=1.0, dtype=rows.type.dtype)  # fmt: skip
    ctx.propagate_relevance(x, ctx.reshape(ctx.op("mul", mean, ones), (K, *x.type.shape)))


def identity(ctx: Context, node: Node, rule: Rule) -> None:
    r = ctx.narrow(ctx.wide_relevance(node), node.inputs[0].type.dtype)
    ctx.propagate_relevance(node.inputs[0], r)


def local_linear(ctx: Context, node: Node, rule: Rule) -> None:
    s, x = ctx.per_output(node, rule.number("eps")), node.inputs[0]
    back = ctx.narrow(_scaled(ctx, node, s), x.type.dtype)
    ctx.absorb("bias", s, node.out)
    ctx.absorb("bias", back, x, negative=True)  # μ's share and β's
    ctx.propagate(x, back)


def z_sign(ctx: Context, node: Node, rule: Rule) -> None:
    centred = ctx.reshape(_centred(ctx, node), node.inputs[0].type.shape)
    _proportional(ctx, node, _scaled(ctx, node, centred), rule.number("eps"))


def taylor(ctx: Context, node: Node, rule: Rule) -> None:
    back = _gradient(ctx, node, ctx.wide_relevance(node))
    product = ctx.op("mul", back, ctx.wide(node.inputs[0]))
    _proportional(ctx, node, product, rule.number("eps"))


def _proportional(ctx: Context, node: Node, weights: Value, eps: float) -> None:
    """R_x = w / stab(Σ w) · ΣR, sums over each row."""
    parts = _shares(ctx, node, _rows(ctx, node, weights), eps)
    arrived = _rows(ctx, node, ctx.wide_relevance(node))
    total = ctx.op("sum", arrived, dims=(-1,), keepdim=True)
    _hand_out(ctx, node, "epsilon", ctx.op("mul", total, parts))


def abs_grad_xmu(ctx: Context, node: Node, rule: Rule) -> None:
    steep = ctx.op("abs", _gradient(ctx, node, ctx.wide_relevance(node)))
    far = ctx.op("abs", _centred(ctx, node))
    _elementwise(ctx, node, ctx.op("mul", _rows(ctx, node, steep), far), rule.number("eps"))


def xmu(ctx: Context, node: Node, rule: Rule) -> None:
    _elementwise(ctx, node, ctx.op("abs", _centred(ctx, node)), rule.number("eps"))


def _elementwise(ctx: Context, node: Node, weights: Value, eps: float) -> None:
    """R_x = w / stab(Σ w) ⊙ R, entry by entry: not conserving."""
    arrived = _rows(ctx, node, ctx.wide_relevance(node))
    shared = ctx.op("mul", arrived, _shares(ctx, node, weights, eps))
    _hand_out(ctx, node, "rescale", shared)


def _shares(ctx: Context, node: Node, rows: Value, eps: float) -> Value:
    """w / stab(Σ w) in every row."""
    return ctx.op("ratio", rows, ctx.op("sum", rows, dims=(-1,), keepdim=True), eps=eps)


def _hand_out(ctx: Context, node: Node, kind: str, rows: Value) -> None:
    x = node.inputs[0]
    ctx.hand_out(node, kind, (x, ctx.reshape(rows, (K, *x.type.shape)), ""))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g, x = ctx.per_output(node, 0.0), node.inputs[0]
    if ctx.ledger and (beta := _affine(ctx, node, "bias")) is not None:
        ctx.absorb("bias", g, beta)
    weight, groups = node.attr("weight"), node.attr("groups", 0)
    back = ctx.op("norm_gradient", g, x, weight=weight, groups=groups, eps=node.attr("eps"))
    if ctx.ledger:  # a normalised output does not grow with its input: most of it is lost
        flat = _transposed(ctx, node, g)
        ctx.record("rescale", ctx.op("sub", flat, back), x)
    ctx.propagate(x, back)


RULES = (
    Declaration("detach_sigma", NORMS, detach_sigma,
        "σ constant, μ linear: epsilon rule through diag(γ/σ)(I − 11ᵀ/C)",
        "Achtibat et al. 2024 (2402.05602); Ali et al. 2022 (2202.07304)",
        "all but β's share and ε's; with `bias: spread` that goes to the row's inputs, equally",
        (EPS, SPREAD)),
    Declaration("identity", ALL_NORMS, identity,
        "R_x = R_y",
        "Achtibat et al. 2024, proposition 3.4 (2402.05602)",
        "all"),
    Declaration("local_linear", ALL_NORMS, local_linear,
        "R_x = (γ/σ ⊙ x) / stab_ε(y) ⊙ R: μ and σ constant",
        "epsilon rule of Bach et al. 2015 on the diagonal map γ/σ",
        "all but the share of μ and β (sink `bias`) and ε's", (EPS,)),
    Declaration("z_sign", ALL_NORMS, z_sign,
        "per row: c = γ/σ ⊙ (x − μ), R_x = c / stab_ε(Σ c) · ΣR",
        "z rule of Bach et al. 2015 on the row's sum of c",
        "all but ε's share: all of it where γ is constant in a row, for then Σ c is 0", (EPS,)),
    Declaration("taylor", ALL_NORMS, taylor,
        "per row: t = x ⊙ JᵀR, R_x = t / stab_ε(Σ t) · ΣR",
        "first-order term, rescaled to what arrived",
        "all but ε's share", (EPS,)),
    Declaration("abs_grad_xmu", ALL_NORMS, abs_grad_xmu,
        "per row: w = |JᵀR| ⊙ |x − μ|, R_x = w / stab_ε(Σ w) ⊙ R",
        "sensitivity times deviation",
        "not conserving: sink `rescale` holds the difference", (EPS,)),
    Declaration("xmu", ALL_NORMS, xmu,
        "per row: w = |x − μ|, R_x = w / stab_ε(Σ w) ⊙ R",
        "deviation from the mean",
        "not conserving: sink `rescale` holds the difference", (EPS,)),
    Declaration("gradient_input", NORMS, gradient_input,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "not conserving: sink `rescale`"),
)  # fmt: skip
