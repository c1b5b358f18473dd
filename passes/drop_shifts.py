"""Drops what is subtracted alike from all scores of a softmax, which does not change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lrpc.ir.graph import Module, Node, Value
from lrpc.rules.masks import hides
from passes.drop_identities import axes, number
from passes.eliminate_dead import EliminateDead
from passes.rewrite import Rewriter, rewrite

WIDE = 1e4
"""Bounds of scores that keep a softmax from overflowing; no others may lie in between."""


@dataclass(frozen=True)
class DropShifts:
    """Replaces softmax(x − m) by softmax(x), where m is the same along its axis, such as the
    largest score.

    Masks of −∞, clamps to wide bounds, permutations and scales may lie in between. A difference
    that is 0 at the largest score has no relevance to split there.
    """

    name: ClassVar[str] = "drop_shifts"

    def run(self, module: Module) -> Module:
        before: dict[str, Node] = {}  # value name → the node that makes it, in the new graph

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            seen, outputs = len(new.nodes), None
            if node.op == "softmax":
                axis = node.integer("dim")
                x = _unshifted(node.inputs[0], axis % node.out.type.rank, before, new)
                if x is not None:
                    outputs = new.like(node, x, hint=node.out.name, attrs=dict(node.attrs))
            for made in new.nodes[seen:] if outputs is not None else [node]:
                before.update((value.name, made) for value in made.outputs)
            return outputs

        return EliminateDead().run(rewrite(module, emit))


def _unshifted(x: Value, axis: int, before: dict[str, Node], new: Rewriter) -> Value | None:
    """`x` without what is subtracted alike along an axis; None where nothing is."""
    made = before.get(x.name)
    if made is None or not made.inputs or made.inputs[0].type.rank != x.type.rank:
        return None
    scores = made.inputs[0]
    if made.op == "sub" and scores.type == x.type and _alike(made.inputs[1], axis, x, before):
        deeper = _unshifted(scores, axis, before, new)
        return scores if deeper is None else deeper
    if not _keeps_shifts(made, x):
        return None
    inner = axes(made)[axis] if made.op == "permute" else axis
    below = _unshifted(scores, inner, before, new)
    if below is None:
        return None
    (found,) = new.like(made, below, *made.inputs[1:], hint=x.name, attrs=dict(made.attrs))
    return found


def _keeps_shifts(made: Node, x: Value) -> bool:
    """Whether a shift before an operation is one after it."""
    if made.op == "clamp":
        bounds = [made.attr(key) for key in ("min", "max")]
        return all(b is None or abs(float(str(b))) >= WIDE for b in bounds)
    if made.op == "masked_fill":
        return hides(number(made, "value")) and made.inputs[0].type == x.type
    return made.op in ("permute", "scale")


def _alike(m: Value, axis: int, x: Value, before: dict[str, Node]) -> bool:
    """Whether `m`, which is spread to the shape of `x`, is the same along an axis of it."""
    while (made := before.get(m.name)) is not None and made.op == "expand":
        m = made.inputs[0]
    behind = axis - x.type.rank
    return m.type.rank < -behind or m.type.shape[behind] == 1
