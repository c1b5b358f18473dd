"""Which nodes of a graph to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from lrpc.commands.show.load import ShowError
from lrpc.ir.graph import Graph, Node
from lrpc.ir.types import Sym
from lrpc.support.untrusted import nearest

Indexed = tuple[int, Node]


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that a node must meet, all of them; an empty one is met by every node.

    Conditions are globs; a module that matches counts with everything below it. The role `none`
    stands for nodes without a role.
    """

    role: str = ""
    op: str = ""
    module: str = ""

    def __bool__(self) -> bool:
        return bool(self.role or self.op or self.module)

    def __call__(self, node: Node) -> bool:
        if self.role and not fnmatchcase(node.role or "none", self.role):
            return False
        if self.op and not fnmatchcase(node.op, self.op):
            return False
        return not self.module or _within(node.loc.module, self.module)


def select(graph: Graph, condition: Filter) -> list[Indexed]:
    """The nodes that meet `condition` with their places in the program; ShowError where none do."""
    found = [(i, node) for i, node in enumerate(graph.nodes) if condition(node)]
    if condition and not found:
        raise ShowError(_nothing(graph, condition))
    return found


def is_relevance(node: Node) -> bool:
    """Whether a node belongs to the relevance half: by its role, or an axis of seeds."""
    if node.role == "relevance":
        return True
    values = node.outputs or node.inputs
    return any(isinstance(d, Sym) and d.seeds > 0 for v in values for d in v.type.shape)


def counted(names: Iterable[str]) -> list[tuple[str, int]]:
    """How often each name occurs, the most frequent first, then by name; "" counts as none."""
    counts = Counter(name or "none" for name in names)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _within(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")


def _nothing(graph: Graph, condition: Filter) -> str:
    known = {
        "role": sorted({node.role or "none" for node in graph.nodes}),
        "op": sorted({node.op for node in graph.nodes}),
        "module": sorted({node.loc.module for node in graph.nodes} - {""}),
    }
    for kind, names in known.items():
        wanted = getattr(condition, kind)
        if wanted and not any(wanted == n or _within(n, wanted) for n in names):
            close = nearest(wanted, names, 3) or names
            more = ", …" if len(close) > 8 else ""
            return f"no node has {kind} {wanted!r}; there are: {', '.join(close[:8])}{more}"
    return "no node meets all the conditions at once; drop one of them"
