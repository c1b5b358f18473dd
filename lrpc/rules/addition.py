"""Rules for sums: residual connections, merged branches, positions added to tokens.

A residual has its skip path first and its transform second; in any other sum the first operand
stands for the skip path.
"""

from __future__ import annotations

from lrpc.ir.graph import Graph, Node, Rule, Value
from lrpc.ir.ops import Family, Trait, in_order, of_family, with_trait
from lrpc.rules.context import Context
from lrpc.rules.declaration import EPS, Declaration, Param

SUMS = in_order(of_family(Family.SUM))
MAPS = with_trait(Trait.CHANNELS_FIRST)
TOKENS = with_trait(Trait.CHANNELS_LAST)
KEEPING = with_trait(Trait.ELEMENTWISE)

POSITION = Param(
    "position",
    "sink",
    words=("sink", "split"),
    meaning="whether a position's share is kept in the ledger or followed like any summand's",
)


def epsilon(ctx: Context, node: Node, rule: Rule) -> None:
    _split(ctx, node, rule.number("eps"), sink=_is_sink(rule))


def gradient_input(ctx: Context, node: Node, rule: Rule) -> None:
    _split(ctx, node, 0.0, sink=False)


def _is_sink(rule: Rule) -> bool:
    return rule.word("position", "sink") == "sink"


def _split(ctx: Context, node: Node, eps: float, sink: bool) -> None:
    s = ctx.per_output(node, eps)
    a, b = node.inputs
    ctx.propagate(a, s)
    other = ctx.scaled(s, -1.0) if node.op == "sub" else s
    if node.role != "positional":
        ctx.propagate(b, other)
    elif sink:
        ctx.absorb("position", other, b)
    else:
        ctx.propagate(b, other, "position")


def z_sign(ctx: Context, node: Node, rule: Rule) -> None:
    skip, other = (_over_channels(ctx, node, x) for x in _summands(ctx, node))
    _by_token(ctx, node, rule, skip, other)


def energy(ctx: Context, node: Node, rule: Rule) -> None:
    parts = [ctx.op("mul", x, x) for x in _summands(ctx, node)]
    _by_token(ctx, node, rule, *(_over_channels(ctx, node, x) for x in parts))


def dot_positive(ctx: Context, node: Node, rule: Rule) -> None:
    y = ctx.wide(node.out)
    parts = [ctx.op("relu", ctx.op("mul", x, y)) for x in _summands(ctx, node)]
    _by_token(ctx, node, rule, *(_over_channels(ctx, node, x) for x in parts))


def skip(ctx: Context, node: Node, rule: Rule) -> None:
    a = node.inputs[0]
    ctx.propagate_relevance(a, ctx.narrow(ctx.wide_relevance(node), a.type.dtype))


def _summands(ctx: Context, node: Node) -> tuple[Value, Value]:
    """Both summands with the sign they enter with, in the sum's shape."""
    a, b = (_whole(ctx, node, ctx.wide(x)) for x in node.inputs)
    return a, (ctx.scaled(b, -1.0) if node.op == "sub" else b)


def _whole(ctx: Context, node: Node, x: Value) -> Value:
    shape = node.out.type.shape
    return x if x.type.shape == shape else ctx.op("expand", x, shape=shape)


def _over_channels(ctx: Context, node: Node, x: Value) -> Value:
    axis = channel_axis(ctx.graph, node.out)
    return ctx.op("sum", x, dims=(axis,), keepdim=True)


def channel_axis(graph: Graph, value: Value) -> int:
    """Where the channels of `value` are: the last axis, or −3 for maps [B, C, H, W].

    Of four axes and more, it is a map where the nearest operation that says so, behind elementwise
    ones, is a convolution, a pooling, a resize, batch norm or group norm; before or after.
    """
    if value.type.rank < 4:
        return -1
    for onward in (False, True):
        waiting, seen = [value], {value.name}
        while waiting:
            here = waiting.pop(0)
            producer = graph.producers.get(here.name)
            near = graph.users.get(here.name, ()) if onward else (producer,) if producer else ()
            for node in near:
                if node.op in MAPS or node.op in TOKENS:
                    return -3 if node.op in MAPS else -1
                ends = node.outputs if onward else node.inputs
                if node.op in KEEPING:
                    waiting += [v for v in ends if v.name not in seen]
                    seen.update(v.name for v in ends)
    return -1


def _by_token(ctx: Context, node: Node, rule: Rule, skip: Value, other: Value) -> None:
    """The share w_skip / stab(w_skip + w_other) of every token to the skip path, the rest on."""
    a, b = node.inputs
    share = ctx.op("ratio", skip, ctx.op("add", skip, other), eps=rule.number("eps"))
    r = ctx.wide_relevance(node)
    first = ctx.op("mul", r, share)
    rest = ctx.narrow(ctx.op("sub", r, first), b.type.dtype)
    ctx.propagate_relevance(a, ctx.narrow(first, a.type.dtype))
    if node.role != "positional":
        ctx.propagate_relevance(b, rest)
    elif _is_sink(rule):
        ctx.absorb_relevance("position", rest)
    else:
        ctx.propagate_relevance(b, rest, "position")


PER_TOKEN = "all; the second summand takes what the first leaves"
RULES = (
    Declaration("epsilon", SUMS, epsilon,
        "R_a = a / stab_ε(a + b) ⊙ R, R_b = b / stab_ε(a + b) ⊙ R; a position's share is a sink",
        "Bach et al. 2015; Achtibat et al. 2024 (2402.05602); PA-LRP (2506.02138) for positions",
        "all but ε's share", (EPS, POSITION)),
    Declaration("z_sign", SUMS, z_sign,
        "per token: R_a = Σa / stab_ε(Σa + Σb) · R, sums over channels; R_b = R − R_a",
        "z rule of Bach et al. 2015 on the sums of both branches",
        PER_TOKEN, (EPS, POSITION)),
    Declaration("energy", SUMS, energy,
        "per token: R_a = ‖a‖² / (‖a‖² + ‖b‖² + ε) · R; R_b = R − R_a",
        "split by energy",
        PER_TOKEN, (EPS, POSITION)),
    Declaration("dot_positive", SUMS, dot_positive,
        "per token: R_a = p(a) / (p(a) + p(b) + ε) · R, p(a) = Σ max(a ⊙ y, 0); R_b = R − R_a",
        "split by what agrees with the sum y",
        PER_TOKEN, (EPS, POSITION)),
    Declaration("skip", SUMS, skip,
        "R_a = R, R_b = 0: all to the skip path",
        "a residual connection taken as the identity",
        "all"),
    Declaration("gradient_input", SUMS, gradient_input,
        "R_a = a ⊙ ∂f/∂a",
        "Shrikumar et al. 2016 (1605.01713)",
        "all"),
)  # fmt: skip
