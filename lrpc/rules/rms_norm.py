"""Rules for RMSNorm, y = γ ⊙ x / √(mean(x²) + ε)."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration


def _weighted(ctx: Context, node: Node, s: Value) -> Value:
    """γ ⊙ s."""
    name = node.attr("weight")
    return s if name is None else ctx.op("mul", s, ctx.constant(str(name)))


def _reciprocal(ctx: Context, node: Node) -> Value:
    return ctx.op("reciprocal_rms", node.inputs[0], eps=node.attr("eps"))


def detach_sigma(ctx: Context, node: Node, rule: Rule) -> None:
    s = _weighted(ctx, node, ctx.per_output(node, rule.number("eps")))
    ctx.propagate(node.inputs[0], ctx.op("mul", s, _reciprocal(ctx, node)))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    """Jᵀ g = (γ ⊙ g − u mean(u ⊙ γ ⊙ g)) / rms, u = x / rms."""
    x, r = node.inputs[0], _reciprocal(ctx, node)
    g = _weighted(ctx, node, ctx.per_output(node, 0.0))
    unit = ctx.op("mul", x, r)
    along = ctx.op("mean", ctx.op("mul", g, unit), dims=(-1,), keepdim=True)
    lost = ctx.op("mul", ctx.op("mul", unit, along), r)
    ctx.record("rescale", lost, x)
    ctx.propagate(x, ctx.op("sub", ctx.op("mul", g, r), lost))


RMS = ("rms_norm",)
RULES = (
    Declaration("detach_sigma", RMS, detach_sigma,
        "RMS constant: epsilon rule through diag(γ/rms)",
        "Achtibat et al. 2024 (2402.05602); Ali et al. 2022 (2202.07304)",
        "all but ε's share", (EPS,)),
    Declaration("gradient_input", RMS, gradient_input,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "not conserving: sink `rescale`"),
)  # fmt: skip
