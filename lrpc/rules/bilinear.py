"""Rules for bilinear maps of two activations: matmul, einsum, elementwise product."""

from __future__ import annotations

from string import ascii_letters

from lrpc.errors import RuleError
from lrpc.ir.graph import Node, Rule, Value
from lrpc.ir.ops import Family, in_order, of_family
from lrpc.ir.types import K
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param

BILINEAR = in_order(of_family(Family.BILINEAR, Family.PRODUCT))
SOURCE = "Achtibat et al. 2024, proposition 3.3 (2402.05602)"
RATIO = Param("ratio", 0.5, 0.0, 1.0, meaning="ρ, the first factor's share (attention: `qk_share`)")

FACTOR = Param(
    "factor", "first", words=("first", "second"), meaning="the factor that is taken as constant"
)


def first(ctx: Context, node: Node, s: Value) -> Value:
    b = node.inputs[1]
    if node.op == "mul":
        return ctx.op("mul", s, b)
    if node.op == "matmul":
        return ctx.op("matmul", s, _swap(ctx, b))
    left, right, out = terms(node)
    return _contracted(ctx, s, b, (out, right, left), node.inputs[0])


def second(ctx: Context, node: Node, s: Value) -> Value:
    a = node.inputs[0]
    if node.op == "mul":
        return ctx.op("mul", s, a)
    if node.op == "matmul":
        return ctx.op("matmul", _swap(ctx, a), s)
    left, right, out = terms(node)
    return _contracted(ctx, s, a, (out, left, right), node.inputs[1])


def _contracted(
    ctx: Context, s: Value, by: Value, letters: tuple[str, str, str], like: Value
) -> Value:
    """Σ s ⊙ by over the axes that `like` does not have; along one that neither of them has, because
    `like` alone was summed over it, every entry gets the same."""
    out, other, own = letters
    seeds = next(c for c in ascii_letters[::-1] if c not in out + other + own)
    kept = "".join(c for c in own if c in out + other)
    g = ctx.op("einsum", s, by, equation=f"{seeds}{out},{other}->{seeds}{kept}")
    if kept == own:
        return g
    sizes = dict(zip(kept, g.type.shape[1:], strict=True))
    ones = tuple(sizes.get(c, 1) for c in own)
    full = tuple(sizes.get(c, d) for c, d in zip(own, like.type.shape, strict=True))
    return ctx.op("expand", ctx.reshape(g, (K, *ones)), shape=(K, *full))


def _swap(ctx: Context, x: Value) -> Value:
    order = list(range(x.type.rank))
    return ctx.op("permute", x, dims=(*order[:-2], order[-1], order[-2]))


def terms(node: Node) -> tuple[str, str, str]:
    """The letters of both factors and of the result; RuleError where a factor has one twice."""
    equation = str(node.attr("equation")).replace(" ", "")
    inputs, _, out = equation.partition("->")
    left, right = inputs.split(",")
    if any(len(set(part)) < len(part) for part in (left, right)):
        raise RuleError(
            f'einsum "{equation}" at {node.loc} takes a diagonal, which no rule goes through;'
            " take it with torch.diagonal or by a product before"
        )
    return left, right, out


def share(ctx: Context, node: Node, rule: Rule) -> None:
    _share(ctx, node, rule.number("ratio"), rule.number("eps"))


def uniform(ctx: Context, node: Node, rule: Rule) -> None:
    left, right = (_factors(ctx, x) if node.op == "mul" else 1 for x in node.inputs)
    _share(ctx, node, left / max(left + right, 1), rule.number("eps"))


def _factors(ctx: Context, value: Value) -> int:
    """How many factors that carry relevance `value` multiplies, for the one product that reads it.

    Only elementwise products under this same rule count as a chain: (a ⊙ b) ⊙ c has three factors.
    """
    if not ctx.carries(value):
        return 0
    made = ctx.graph.producers.get(value.name)
    chained = made is not None and made.op == "mul" and made.rule is not None
    if not chained or made is None or made.rule is None or made.rule.name != "uniform":
        return 1
    alone = len(ctx.graph.users.get(value.name, ())) == 1
    return sum(_factors(ctx, x) for x in made.inputs) if alone else 1


def detach(ctx: Context, node: Node, rule: Rule) -> None:
    _share(ctx, node, 0.0 if rule.word("factor", "first") == "first" else 1.0, rule.number("eps"))


def _share(ctx: Context, node: Node, ratio: float, eps: float) -> None:
    a, b = node.inputs
    if not ctx.carries(a) or not ctx.carries(b):  # one factor is data of the map: all to the other
        ratio, eps = (1.0, 0.0) if ctx.carries(a) else (0.0, 0.0)
    s = ctx.per_output(node, eps)
    if ratio > 0:
        ctx.propagate(a, ctx.scaled(first(ctx, node, s), ratio))
    if ratio < 1:
        ctx.propagate(b, ctx.scaled(second(ctx, node, s), 1 - ratio))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    a, b = node.inputs
    g = ctx.per_output(node, 0.0)
    if ctx.carries(a):
        ctx.propagate(a, first(ctx, node, g))
    if ctx.carries(b):
        ctx.propagate(b, second(ctx, node, g))
    if ctx.carries(a) and ctx.carries(b):  # Euler: a product of degree 2 gives its value twice
        ctx.record("rescale", g, node.out, negative=True)


RULES = (
    Declaration("uniform", BILINEAR, uniform,
        "s = R_z / stab_ε(z); R_a = ½ a ⊙ (∂z/∂a)ᵀ s, R_b = ½ b ⊙ (∂z/∂b)ᵀ s; 1/n each in a"
        " product of n factors",
        SOURCE,
        "all but ε's share", (EPS,)),
    Declaration("share", BILINEAR, share,
        "ρ of the relevance to the first factor, 1 − ρ to the second",
        "Ali et al. 2022 (2202.07304) for ρ = 0; Achtibat et al. 2024 for ρ = ½",
        "all but ε's share", (RATIO, EPS)),
    Declaration("detach", BILINEAR, detach,
        "one factor is taken as constant: all to the other, R_b = b ⊙ (∂z/∂b)ᵀ R_z / stab_ε(z)",
        "Ali et al. 2022 (2202.07304); for gates, Arras et al. 2019 (1909.12114)",
        "all but ε's share", (FACTOR, EPS)),
    Declaration("gradient_input", BILINEAR, gradient_input,
        "R_a = a ⊙ ∂f/∂a, R_b = b ⊙ ∂f/∂b",
        "Shrikumar et al. 2016 (1605.01713)",
        "doubles: sink `rescale` holds the excess"),
)  # fmt: skip
