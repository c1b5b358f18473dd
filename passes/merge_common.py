"""Merges common subexpressions: the same operation on the same operands is computed once."""

from __future__ import annotations

from lrpc.ir.graph import Module, Node, Value
from lrpc.ir.ops import TABLE, Trait
from passes.rewrite import Rewriter, rewrite


def merge_common(module: Module) -> Module:
    """`module` with equal operations merged into the first of them, whose place and role stay."""
    known: dict[object, tuple[Value, ...]] = {}

    def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
        if not node.outputs:  # effects are not expressions
            return None
        names = [value.name for value in node.inputs]
        operands = sorted(names) if TABLE[node.op].has(Trait.COMMUTES) else names
        key = (node.op, tuple(operands), node.attrs)
        first = known.setdefault(key, node.outputs)
        return None if first is node.outputs else first

    return rewrite(module, emit)
