"""Rules for looking up rows of a table by whole numbers: tokens, positions, kinds of segments."""

from __future__ import annotations

from lrpc.ir.graph import Node, Rule
from lrpc.rules.context import Context
from lrpc.rules.declaration import Declaration


def passing(ctx: Context, node: Node, rule: Rule) -> None:
    """The number has no activation of its own: it takes relevance itself."""
    r = ctx.op("sum", ctx.relevance(node), dims=(-1,), keepdim=False)
    ctx.propagate_relevance(node.inputs[0], r)


RULES = (
    Declaration("pass", ("embedding",), passing,
        "R of a token = Σ of R over the channels of its row",
        "Ali et al. 2022, section 3 (2202.07304)",
        "all"),
    Declaration("gradient_input", ("embedding",), passing,
        "R of a token = Σ over channels of row ⊙ ∂f/∂row",
        "Shrikumar et al. 2016 (1605.01713)",
        "all"),
)  # fmt: skip
