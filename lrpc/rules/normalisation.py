"""Rules for LayerNorm and GroupNorm, y = γ ⊙ (x − μ)/σ + β."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration

NORMS = ("layer_norm", "group_norm")


def _transposed(ctx: Context, node: Node, s: Value) -> Value:
    """diag(γ/σ)(I − 11ᵀ/n) transposed, σ constant."""
    groups = node.attr("groups", 0)
    rstd = ctx.op("rstd", node.inputs[0], eps=node.attr("eps"), groups=groups)
    if node.op == "layer_norm":
        return ctx.op("layer_norm_transpose", s, rstd, weight=node.attr("weight"))
    return ctx.op("group_norm_transpose", s, rstd, weight=node.attr("weight"), groups=groups)


def _shift(ctx: Context, node: Node) -> Value | None:
    name = node.attr("bias")
    if name is None:
        return None
    beta = ctx.constant(str(name))
    trailing = 0 if node.op == "layer_norm" else node.out.type.rank - 2
    return ctx.reshape(beta, (*beta.type.shape, *(1,) * trailing))


def detach_sigma(ctx: Context, node: Node, rule: Rule) -> None:
    s = ctx.stabilised(ctx.g(node), node.out, rule.number("eps"))
    if ctx.ledger and (beta := _shift(ctx, node)) is not None:
        ctx.lose("bias", s, beta)
    ctx.give(node.inputs[0], _transposed(ctx, node, s))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g, x = ctx.g(node), node.inputs[0]
    if ctx.ledger and (beta := _shift(ctx, node)) is not None:
        ctx.lose("bias", g, beta)
    weight, groups = node.attr("weight"), node.attr("groups", 0)
    back = ctx.op("norm_gradient", g, x, weight=weight, groups=groups, eps=node.attr("eps"))
    if ctx.ledger:  # a normalised output does not grow with its input: most of it is lost
        flat = _transposed(ctx, node, g)
        ctx.record("rescale", ctx.op("sub", flat, back), x)
    ctx.give(x, back)


RULES = (
    Declaration(
        "detach_sigma",
        NORMS,
        detach_sigma,
        "σ constant, μ linear: epsilon rule through diag(γ/σ)(I − 11ᵀ/C)",
        "Achtibat et al. 2024 (2402.05602); Ali et al. 2022 (2202.07304)",
        "all but β's share and ε's",
        (EPS,),
    ),
    Declaration(
        "gradient_input",
        NORMS,
        gradient_input,
        "R_x = x ⊙ ∂f/∂x",
        "Shrikumar et al. 2016 (1605.01713)",
        "not conserving: sink `rescale`",
    ),
)
