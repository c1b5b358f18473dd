"""Rules for sums: residual connections, merged branches, positions added to tokens."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param

SUMS = ("add", "sub")


POSITION = Param(
    "position",
    "sink",
    words=("sink", "split"),
    meaning="whether a position's share is kept in the ledger or followed like any summand's",
)


def epsilon(ctx: Context, node: Node, rule: Rule) -> None:
    _split(ctx, node, rule.number("eps"), sink=rule.word("position", "sink") == "sink")


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    _split(ctx, node, 0.0, sink=False)


def _split(ctx: Context, node: Node, eps: float, sink: bool) -> None:
    s = ctx.stabilised(ctx.g(node), node.out, eps)
    a, b = node.inputs
    ctx.give(a, s)
    other = ctx.scaled(s, -1.0) if node.op == "sub" else s
    if node.role != "positional":
        ctx.give(b, other)
    elif sink:
        ctx.lose("position", other, b)
    else:
        ctx.give(b, other, "position")


RULES = (
    Declaration(
        "epsilon",
        SUMS,
        epsilon,
        "R_a = a / stab_ε(a + b) ⊙ R, R_b = b / stab_ε(a + b) ⊙ R; a position's share is a sink",
        "Bach et al. 2015; Achtibat et al. 2024 (2402.05602); PA-LRP (2506.02138) for positions",
        "all but ε's share",
        (EPS, POSITION),
    ),
    Declaration(
        "gradient_input",
        SUMS,
        gradient_input,
        "R_a = a ⊙ ∂f/∂a",
        "Shrikumar et al. 2016 (1605.01713)",
        "all",
    ),
)
