"""Elementwise functions that are no activations of their own: powers, exp, log, sine, bounds.

Where f(0) is finite, G is multiplied by (f(x) − f(0)) / x in a form that never divides by a small
number, and f(0) is a bias. Where that quotient has no bound near 0 (roots) or f(0) is not finite
(log), R itself is passed on. A reciprocal normalises what it multiplies: it is taken as constant.
"""

from __future__ import annotations

import math

import torch

from lrpc.errors import RuleError
from lrpc.ir.graph import Node, Rule, Value
from lrpc.ir.ops import TABLE, Family, Trait, in_order, of_family, with_trait
from lrpc.rules.context import Context
from lrpc.rules.declaration import Declaration
from lrpc.rules.masks import shown

OPS = in_order(of_family(Family.FUNCTION))
PASSING = tuple(op for op in OPS if op != "reciprocal")
NORMALISING = in_order(with_trait(Trait.INVERTS))
BACH = "Bach et al. 2015, section 2 (10.1371/journal.pone.0130140)"


def passing(ctx: Context, node: Node, rule: Rule) -> None:
    x = node.inputs[0]
    if _by_relevance(node):
        ctx.propagate_relevance(x, ctx.narrow(ctx.wide_relevance(node), x.type.dtype))
        return
    if offset := at_zero(node):
        s = shown(ctx, node, ctx.per_output(node, 0.0))
        ctx.record("bias", s, ctx.op("full", shape=(1,), value=offset, dtype=x.type.dtype))
        ctx.propagate(x, ctx.op("mul", s, _ratio(ctx, node, x)))
        return
    came = ctx.arrived(node)
    if came.g is not None:
        ctx.propagate(x, ctx.op("mul", shown(ctx, node, came.g), _ratio(ctx, node, x)))
    if came.r is not None:
        ctx.propagate_relevance(x, came.r)


def at_zero(node: Node) -> float:
    """f(0)."""
    zero = torch.zeros((), dtype=torch.float64)
    return float(TABLE[node.op].reference(zero, **dict(node.attrs)))


def _by_relevance(node: Node) -> bool:
    if node.op != "pow":
        return node.op in ("sqrt", "log")
    if node.number("exponent") > 0:
        return node.number("exponent") < 1
    raise RuleError(
        f"rule pass: x ** {node.attr('exponent')} at {node.loc} has no share of its own at x = 0;"
        " give it the rule detach (it normalises), or gradient_input"
    )


def _ratio(ctx: Context, node: Node, x: Value) -> Value:
    if node.op == "pow":
        return ctx.op("pow", x, exponent=node.number("exponent") - 1)
    if node.op == "clamp":
        return ctx.op("clamp_ratio", x, min=node.attr("min"), max=node.attr("max"))
    return ctx.op(f"{node.op}_ratio", x)


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    g, x = ctx.per_output(node, 0.0), node.inputs[0]
    back = _gradient(ctx, node, g, x)
    if ctx.ledger:
        ctx.absorb("rescale", g, node.out)
        ctx.record("rescale", back, x, negative=True)
    ctx.propagate(x, back)


def _gradient(ctx: Context, node: Node, g: Value, x: Value) -> Value:
    match node.op:
        case "clamp":
            return ctx.op("clamp_gate", g, x, min=node.attr("min"), max=node.attr("max"))
        case "sqrt":
            return ctx.op("power_gradient", g, x, exponent=0.5, by=0.5)
        case "log":
            return ctx.op("power_gradient", g, x, exponent=0.0, by=1.0)
        case "reciprocal":
            return ctx.op("power_gradient", g, x, exponent=-1.0, by=-1.0)
        case "pow":
            p = float(node.number("exponent"))
            return ctx.op("power_gradient", g, x, exponent=p, by=p)
        case "log1p":
            return ctx.op("div", g, ctx.op("shift", x, by=1.0))
        case "erf":  # 2/√π exp(−x²)
            bell = ctx.op("exp", ctx.scaled(ctx.op("mul", x, x), -1.0))
            return ctx.op("mul", g, ctx.scaled(bell, 2 / math.sqrt(math.pi)))
        case "abs":
            return ctx.op("mul", g, ctx.op("abs_ratio", x))
        case "exp":
            return ctx.op("mul", g, node.out)
        case "sin":
            return ctx.op("mul", g, ctx.op("cos", x))
        case _:
            return ctx.op("mul", g, ctx.scaled(ctx.op("sin", x), -1.0))


def detach(ctx: Context, node: Node, rule: Rule) -> None:
    ctx.absorb_all(node, "detached")


RULES = (
    Declaration("pass", PASSING, passing,
        "R_x = R_z; G_x = (f(x) − f(0)) / x ⊙ G_z for abs, exp, log1p, erf, sin, cos, clamp and"
        " powers from 1 up; R itself for log, roots and powers below 1. Exponents from 0 down are"
        " refused",
        BACH,
        "all; f(0) ≠ 0 (exp, cos, clamp above or below 0) goes to sink `bias`"),
    Declaration("gradient_input", OPS, gradient_input,
        "R_x = x ⊙ f'(x) ⊙ G_z; where x is 0 and f'(0) not finite (roots), R_x = 0",
        "Shrikumar et al. 2016 (1605.01713)",
        "not conserving: sink `rescale`"),
    Declaration("detach", NORMALISING, detach,
        "R_x = 0: 1 / x normalises what it multiplies, and is taken as constant; a product gives"
        " all to its other factor",
        "Achtibat et al. 2024 on normalisation (2402.05602); Ali et al. 2022 (2202.07304)",
        "what arrives goes to sink `detached`"),
)  # fmt: skip
