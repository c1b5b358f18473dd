"""Local identities: operations that do nothing, and pairs of them that are one or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate

from lrpc.ir.graph import Attr, Module, Node, Value
from lrpc.ir.ops import views
from passes.rewrite import Rewriter, rewrite

VIEWS = views()
Outputs = tuple[Value, ...]
Before = Mapping[str, Node]  # value name → the node that makes it, in the new graph
Identity = Callable[[Node, Before, Rewriter], Outputs | None]


def drop_identities(module: Module, rows: Mapping[str, tuple[Identity, ...]]) -> Module:
    """`module` with the first identity of `rows[op]` that applies to a node put in its place."""
    before: dict[str, Node] = {}

    def emit(node: Node, new: Rewriter) -> Outputs | None:
        own = rows.get(node.op)
        if own is None:
            for value in node.outputs:
                before[value.name] = node
            return None
        seen = len(new.nodes)
        outputs = next((found for identity in own if (found := identity(node, before, new))), None)
        if outputs is not None and tuple(v.type for v in outputs) != tuple(
            v.type for v in node.outputs
        ):
            outputs = None
        for made in (*new.nodes[seen:], *((node,) if outputs is None else ())):
            before.update((v.name, made) for v in made.outputs)
        return outputs

    return rewrite(module, emit)


def nothing(when: Callable[[Node, Before], bool] = lambda node, before: True) -> Identity:
    """The identity of a node that gives its first operand, of its own type, back `when` that
    holds."""

    def apply(node: Node, before: Before, new: Rewriter) -> Outputs | None:
        same = node.inputs[0].type == node.out.type
        return node.inputs[:1] if same and when(node, before) else None

    return apply


def in_order(node: Node, before: Before) -> bool:
    """Whether a permutation leaves every axis where it is."""
    return axes(node) == tuple(range(node.out.type.rank))


def hides_nothing(node: Node, before: Before) -> bool:
    """Whether the mask that fills is false everywhere."""
    mask = before.get(node.inputs[1].name)
    while mask is not None and mask.op in VIEWS:
        mask = before.get(mask.inputs[0].name)
    return mask is not None and mask.op == "full" and not mask.attr("value")


def double_reshape(node: Node, before: Before, new: Rewriter) -> Outputs | None:
    first = before.get(node.inputs[0].name)
    if first is None or first.op != "reshape":
        return None
    return _like(node, first.inputs[0], new, shape=node.out.type.shape)


def double_permute(node: Node, before: Before, new: Rewriter) -> Outputs | None:
    first = before.get(node.inputs[0].name)
    if first is None or first.op != "permute":
        return None
    inner = axes(first)
    order = tuple(inner[i] for i in axes(node))
    if order == tuple(range(len(order))):
        return first.inputs
    return _like(node, first.inputs[0], new, dims=order)


def double_scale(node: Node, before: Before, new: Rewriter) -> Outputs | None:
    first = before.get(node.inputs[0].name)
    if first is None or first.op != "scale":
        return None
    by = number(first, "by") * number(node, "by")
    return first.inputs if by == 1 else _like(node, first.inputs[0], new, by=by)


def slice_of_cat(node: Node, before: Before, new: Rewriter) -> Outputs | None:
    """Slicing whole operands out of a concatenation."""
    cat = before.get(node.inputs[0].name)
    if cat is None or cat.op != "cat" or node.attr("step") != 1:
        return None
    rank = cat.out.type.rank
    dim = cat.integer("dim") % rank
    sizes = [value.type.shape[dim] for value in cat.inputs]
    if node.integer("dim") % rank != dim or not all(isinstance(size, int) for size in sizes):
        return None
    starts = list(accumulate((size for size in sizes if isinstance(size, int)), initial=0))
    start, stop = (int(number(node, key)) for key in ("start", "stop"))
    if start not in starts or stop not in starts or start >= stop:
        return None
    own = cat.inputs[starts.index(start) : starts.index(stop)]
    return own if len(own) == 1 else new.like(cat, *own, hint=node.out.name, attrs=dict(cat.attrs))


def add_zero(node: Node, before: Before, new: Rewriter) -> Outputs | None:
    """x + 0 or 0 + x, where x alone has the sum's type."""
    for value, other in (node.inputs, node.inputs[::-1]):
        zero = before.get(other.name)
        full = zero is not None and zero.op == "full" and zero.attr("value") == 0
        if full and value.type == node.out.type:
            return (value,)
    return None


def gate_of_nothing(node: Node, before: Before, new: Rewriter) -> Outputs | None:
    """gate(g, y > 0) ⊙ f is g ⊙ f, where f is 0 wherever y is, y being at least 0."""
    for gated, factor in (node.inputs, node.inputs[::-1]):
        gate, made = before.get(gated.name), before.get(factor.name)
        mask = before.get(gate.inputs[1].name) if gate is not None and gate.op == "gate" else None
        if gate is None or made is None or mask is None or not _above_zero(mask, before):
            continue
        vanishes = made.op == "ratio" or (made.op == "stab_ratio" and number(made, "eps") > 0)
        if vanishes and made.inputs[0] == mask.inputs[0]:
            return new.like(node, gate.inputs[0], factor, hint=node.out.name, attrs={})
    return None


def _above_zero(mask: Node, before: Before) -> bool:
    """Whether `mask` is y > 0, y the output of a ReLU."""
    y = before.get(mask.inputs[0].name)
    above = mask.op == "compare_scalar" and mask.attr("kind") == "gt" and mask.attr("value") == 0
    return above and y is not None and y.op == "relu"


def _like(node: Node, source: Value, new: Rewriter, **attrs: Attr) -> Outputs:
    """`node` on an earlier value, with other attributes; a reshape back to the start is dropped."""
    if node.op == "reshape" and source.type == node.out.type:
        return (source,)
    return new.like(node, source, hint=node.out.name, attrs=attrs)


def axes(node: Node) -> tuple[int, ...]:
    """The axes of a permute, counted from the front."""
    return tuple(axis % node.inputs[0].type.rank for axis in node.integers("dims"))


def number(node: Node, key: str) -> float:
    value = node.attr(key)
    assert isinstance(value, (int, float))
    return value


DOING_NOTHING: dict[str, tuple[Identity, ...]] = {
    "reshape": (nothing(), double_reshape),
    "expand": (nothing(),),
    "cast": (nothing(),),
    "permute": (nothing(in_order), double_permute),
    "scale": (nothing(lambda node, before: node.attr("by") == 1),),
    "shift": (nothing(lambda node, before: node.attr("by") == 0),),
    "slice": (
        nothing(lambda node, before: (node.attr("start"), node.attr("step")) == (0, 1)),
        slice_of_cat,
    ),
    "masked_fill": (nothing(hides_nothing),),
    "pad": (nothing(lambda node, before: not any(node.integers("pad"))),),
    "cat": (nothing(lambda node, before: len(node.inputs) == 1),),
    "interpolate": (nothing(),),  # to the size that the input has: exact for every mode
}
