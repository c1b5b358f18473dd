"""The largest or smallest entry along axes, as in global max pooling: the winner takes all."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule, Value
from lrpc.rules.context import Context
from lrpc.rules.declaration import Declaration
from lrpc.rules.structure import spread, with_ones

OPS = ("amax", "amin")


def winner(ctx: Context, node: Node, rule: Rule) -> None:
    x = node.inputs[0]
    share = _share(ctx, node, x)
    ctx.move(node, x, lambda g: ctx.op("mul", spread(ctx, node, g), share))


def _share(ctx: Context, node: Node, x: Value) -> Value:
    """1 at the entry that won, 1/n at each of n that are equal to it, else 0."""
    best = ctx.reshape(node.out, with_ones(node))
    won = ctx.op("compare", x, best, kind="eq")
    wide = "f32" if x.type.dtype in ("f16", "bf16") else x.type.dtype
    one = ctx.op("cast", won, dtype=wide)
    count = ctx.op("sum", one, dims=node.attr("dims"), keepdim=True)
    return ctx.narrow(ctx.op("div", one, count), x.type.dtype)


RULES = (
    Declaration("pass", OPS, winner,
        "the winner takes all; n entries that are equally large take 1/n each",
        "Bach et al. 2015 for max pooling",
        "all"),
    Declaration("gradient_input", OPS, winner,
        "R_x = x ⊙ ∂f/∂x; 1/n each where n entries are equally large",
        "Shrikumar et al. 2016 (1605.01713)",
        "all"),
)  # fmt: skip
