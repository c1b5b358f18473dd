"""Rules for softmax over its own dimension."""

from __future__ import annotations

import math

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration
from lrpc.rules.masks import mask_of

OPS = ("softmax",)


def taylor(ctx: Context, node: Node, rule: Rule) -> None:
    s, dim = node.out, node.integer("dim")
    came = ctx.arrived(node)
    parts = [] if came.g is None else [ctx.op("softmax_transpose", came.g, s, dim=dim)]
    if came.r is not None:
        reached = ctx.gate(came.r, s)  # a masked score, with s = 0, gets nothing
        total = ctx.op("sum", came.r, dims=(dim,), keepdim=True)
        parts.append(ctx.op("sub", reached, ctx.op("mul", total, s)))
    ctx.absorb_all(node, "softmax")
    _give(ctx, node, ctx.total(parts))


def epsilon(ctx: Context, node: Node, rule: Rule) -> None:
    s = ctx.per_output(node, rule.number("eps"))
    ctx.record("softmax", s, node.out)
    _give(ctx, node, ctx.op("softmax_transpose", s, node.out, dim=node.integer("dim")))


def gradient(ctx: Context, node: Node, rule: Rule) -> None:
    r = ctx.wide_relevance(node)
    back = ctx.op("softmax_transpose", r, ctx.wide(node.out), dim=node.integer("dim"))
    ctx.hand_out(node, "softmax", (node.inputs[0], _unmasked(ctx, node, back), ""))


def jacobian(ctx: Context, node: Node, rule: Rule) -> None:
    r, dim = _last(ctx, ctx.wide_relevance(node), node.integer("dim")), node.integer("dim")
    matrix = ctx.op("softmax_jacobian", ctx.wide(node.out), dim=dim)  # [..., n, n]
    product = ctx.op("matmul", matrix, ctx.reshape(r, (*r.type.shape, 1)))
    back = _last(ctx, ctx.reshape(product, r.type.shape), dim)
    ctx.absorb_all(node, "softmax")
    _give(ctx, node, ctx.narrow(back, node.inputs[0].type.dtype))


def _last(ctx: Context, x: Value, dim: int) -> Value:
    """`x` with axes `dim` and −1 exchanged, which undoes itself; K may stand in front."""
    if dim == -1:
        return x
    order = list(range(x.type.rank))
    order[dim], order[-1] = order[-1], order[dim]
    return ctx.op("permute", x, dims=tuple(order))


def _give(ctx: Context, node: Node, back: Value) -> None:
    """`back` per unit of the scores; what it holds of them is no loss of sink `softmax`."""
    back, x = _unmasked(ctx, node, back), node.inputs[0]
    if ctx.ledger:
        mask = mask_of(ctx, x)
        shown = x if mask is None else ctx.op("masked_fill", x, mask.inputs[1], value=0.0)
        ctx.record("softmax", back, shown, negative=True)
    ctx.propagate(x, back)


def _unmasked(ctx: Context, node: Node, back: Value) -> Value:
    """`back` without what a row that sees nothing shares out among its masked scores."""
    mask = mask_of(ctx, node.inputs[0])
    if mask is None or not math.isfinite(mask.number("value")):
        return back
    return ctx.op("masked_fill", back, mask.inputs[1], value=0.0)


def detach(ctx: Context, node: Node, rule: Rule) -> None:
    ctx.absorb_all(node, "detached")


RULES = (
    Declaration("taylor", OPS, taylor,
        "R_x = x ⊙ (R − s ΣR); G-form: the softmax gradient",
        "Achtibat et al. 2024, proposition 3.1 (2402.05602)",
        "not conserving: sink `softmax` holds the difference"),
    Declaration("epsilon", OPS, epsilon,
        "R_x = x ⊙ Jᵀ(R / stab_ε(s)), J the Jacobian",
        "taylor with the stabiliser of Bach et al. 2015, eq. 58",
        "not conserving: sink `softmax` holds the difference, sink `epsilon` ε's share", (EPS,)),
    Declaration("gradient", OPS, gradient,
        "R_x = s ⊙ (R − Σ s R): the softmax gradient of relevance itself",
        "the softmax gradient, without the scores as a factor",
        "nothing: the shares of a row sum to 0; sink `softmax` holds what arrived"),
    Declaration("jacobian", OPS, jacobian,
        "R_x = x ⊙ JᵀR, J = diag(s) − s sᵀ built entry by entry",
        "gradient times input of relevance itself; slow, for tests",
        "not conserving: sink `softmax` holds the difference"),
    Declaration("gradient_input", OPS, taylor,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "not conserving: sink `softmax`"),
    Declaration("detach", OPS, detach,
        "R_x = 0",
        "Ali et al. 2022 (2202.07304)",
        "what arrives goes to sink `detached`"),
)  # fmt: skip
