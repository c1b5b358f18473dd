"""Rules for bilinear maps of two activations: matmul, einsum, elementwise product."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param

BILINEAR = ("matmul", "einsum", "mul")
SOURCE = "Achtibat et al. 2024, proposition 3.3 (2402.05602)"
RATIO = Param("ratio", 0.5, 0.0, 1.0, meaning="ρ, the first factor's share (attention: `qk_share`)")


def partials(ctx: Context, node: Node, s: Value) -> tuple[Value, Value]:
    """(∂z/∂a)ᵀ s and (∂z/∂b)ᵀ s, each with K in front."""
    return first(ctx, node, s), second(ctx, node, s)


def first(ctx: Context, node: Node, s: Value) -> Value:
    b = node.inputs[1]
    if node.op == "mul":
        return ctx.op("mul", s, b)
    if node.op == "matmul":
        return ctx.op("matmul", s, _swap(ctx, b))
    left, right, out = _terms(node)
    return ctx.op("einsum", s, b, equation=f"Z{out},{right}->Z{left}")


def second(ctx: Context, node: Node, s: Value) -> Value:
    a = node.inputs[0]
    if node.op == "mul":
        return ctx.op("mul", s, a)
    if node.op == "matmul":
        return ctx.op("matmul", _swap(ctx, a), s)
    left, right, out = _terms(node)
    return ctx.op("einsum", s, a, equation=f"Z{out},{left}->Z{right}")


def _swap(ctx: Context, x: Value) -> Value:
    order = list(range(x.type.rank))
    return ctx.op("permute", x, dims=(*order[:-2], order[-1], order[-2]))


def _terms(node: Node) -> tuple[str, str, str]:
    inputs, out = str(node.attr("equation")).replace(" ", "").split("->")
    left, right = inputs.split(",")
    return left, right, out


def share(ctx: Context, node: Node, rule: Rule) -> None:
    _share(ctx, node, rule.number("ratio"), rule.number("eps"))


def uniform(ctx: Context, node: Node, rule: Rule) -> None:
    _share(ctx, node, 0.5, rule.number("eps"))


def _share(ctx: Context, node: Node, ratio: float, eps: float) -> None:
    a, b = node.inputs
    if not ctx.carries(a) or not ctx.carries(b):  # one factor is data of the map: all to the other
        ratio, eps = (1.0, 0.0) if ctx.carries(a) else (0.0, 0.0)
    s = ctx.stabilised(ctx.g(node), node.out, eps)
    if ratio > 0:
        ctx.give(a, ctx.scaled(first(ctx, node, s), ratio))
    if ratio < 1:
        ctx.give(b, ctx.scaled(second(ctx, node, s), 1 - ratio))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    a, b = node.inputs
    g = ctx.g(node)
    if ctx.carries(a):
        ctx.give(a, first(ctx, node, g))
    if ctx.carries(b):
        ctx.give(b, second(ctx, node, g))
    if ctx.carries(a) and ctx.carries(b):  # Euler: a product of degree 2 gives its value twice
        ctx.record("rescale", g, node.out, negative=True)


RULES = (
    Declaration(
        "uniform",
        BILINEAR,
        uniform,
        "s = R_z / stab_ε(z); R_a = ½ a ⊙ (∂z/∂a)ᵀ s, R_b = ½ b ⊙ (∂z/∂b)ᵀ s",
        SOURCE,
        "all but ε's share",
        (EPS,),
    ),
    Declaration(
        "share",
        BILINEAR,
        share,
        "ρ of the relevance to the first factor, 1 − ρ to the second",
        "Ali et al. 2022 (2202.07304) for ρ = 0; Achtibat et al. 2024 for ρ = ½",
        "all but ε's share",
        (RATIO, EPS),
    ),
    Declaration(
        "gradient_input",
        BILINEAR,
        gradient_input,
        "R_a = a ⊙ ∂f/∂a, R_b = b ⊙ ∂f/∂b",
        "Shrikumar et al. 2016 (1605.01713)",
        "doubles: sink `rescale` holds the excess",
    ),
)
