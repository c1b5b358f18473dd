"""Elementwise non-linearities: R unchanged, so G is multiplied by f(x)/x in a form that never
divides."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.ir.ops import Family, in_order, of_family
from lrpc.rules.context import Context
from lrpc.rules.declaration import Declaration
from lrpc.rules.masks import shown

ACTIVATIONS = in_order(of_family(Family.ACTIVATION))


def passing(ctx: Context, node: Node, rule: Rule) -> None:
    came, x = ctx.arrived(node), node.inputs[0]
    if node.op == "sigmoid":  # σ(0) = ½ belongs to no input
        s = shown(ctx, node, ctx.per_output(node, 0.0))
        ctx.record("bias", s, ctx.op("full", shape=(1,), value=0.5, dtype=x.type.dtype))
        ctx.propagate(x, _times_quotient(ctx, node, s, x))
        return
    if came.g is not None:
        ctx.propagate(x, _times_quotient(ctx, node, shown(ctx, node, came.g), x))
    if came.r is not None:
        ctx.propagate_relevance(x, came.r)


def _times_quotient(ctx: Context, node: Node, g: Value, x: Value) -> Value:
    match node.op:
        case "relu":
            return ctx.gate(g, node.out)
        case "leaky_relu":
            return ctx.op("leaky_relu_gate", g, x, slope=node.attr("slope"))
        case "gelu":
            return ctx.op("mul", g, ctx.op("gelu_ratio", x, approximate=node.attr("approximate")))
        case "silu":
            return ctx.op("mul", g, ctx.op("sigmoid", x))
        case _:
            return ctx.op("mul", g, ctx.op(f"{node.op}_ratio", x))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g, x = ctx.per_output(node, 0.0), node.inputs[0]
    if node.op in ("relu", "leaky_relu"):
        ctx.propagate(x, _times_quotient(ctx, node, g, x))
        return
    back = ctx.op("activation_gradient", g, x, kind=_kind(node))
    if ctx.ledger:
        ctx.absorb("rescale", g, node.out)
        ctx.record("rescale", back, x, negative=True)
    ctx.propagate(x, back)


def _kind(node: Node) -> str:
    return f"gelu_{node.attr('approximate')}" if node.op == "gelu" else node.op


RULES = (
    Declaration("pass", ACTIVATIONS, passing,
        "R_x = R_z; G_x = (f(x) − f(0)) / x ⊙ G_z",
        "Bach et al. 2015, section 2 (10.1371/journal.pone.0130140)",
        "all; f(0) ≠ 0 (sigmoid) goes to sink `bias`"),
    Declaration("gradient_input", ACTIVATIONS, gradient_input,
        "R_x = x ⊙ f'(x) ⊙ G_z",
        "Shrikumar et al. 2016 (1605.01713)",
        "not conserving: sink `rescale`"),
)  # fmt: skip
