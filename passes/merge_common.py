"""Merges common subexpressions: the same operation on the same operands is computed once."""

from __future__ import annotations

from lrpc.ir.graph import Module, Node, Value
from lrpc.ir.ops import Trait, with_trait
from passes.rewrite import Rewriter, rewrite

COMMUTING = with_trait(Trait.COMMUTES)


def merge_common(module: Module) -> Module:
    """`module` with equal operations merged into the first of them, whose place and role stay."""
    known: dict[object, tuple[Value, ...]] = {}

    def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
        if not node.outputs:  # effects are not expressions
            return None
        names = [value.name for value in node.inputs]
        if len(names) > 1 and node.op in COMMUTING:
            names.sort()
        key = (node.op, tuple(names), node.attrs)
        first = known.setdefault(key, node.outputs)
        return None if first is node.outputs else first

    return rewrite(module, emit)
