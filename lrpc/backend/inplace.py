"""Which statements of a function body may write their result over an operand.

That is safe where nothing else can see the operand any more: its memory was allocated by the same
body, neither it nor another name of that memory is read later, returned or kept in the state, and
the result has its shape and type.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from lrpc.backend.emission import EMISSION, Emission
from lrpc.ir.graph import Node, Value
from lrpc.ir.ops import Trait, View, views, with_trait

NOTHING = Emission("")  # effects have statements of their own
ALLOCATING = with_trait(Trait.ALLOCATES)
SAME_MEMORY = views(View.IN_ORDER, View.PERMUTED)  # other names of all of it


def overwrites(nodes: Sequence[Node], keep: Collection[str]) -> list[int | None]:
    """For each of `nodes`, the operand that its result takes the place of, None where it needs
    memory of its own. Values named in `keep` are read after the body, or lie in the state."""
    memory = _Memory()
    for index, node in enumerate(nodes):
        memory.note(index, node, keep)
    return [memory.operand(index, node) for index, node in enumerate(nodes)]


@dataclass
class _Memory:
    """The memory that a body allocates, by the value that it was made for; and when each is read
    last."""

    of: dict[str, str] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def note(self, index: int, node: Node, keep: Collection[str]) -> None:
        """Statement `index`: what it reads, and whose memory its results lie in."""
        for value in node.inputs:
            if value.name in self.of:
                handed_out = node.op == "read" and len(node.inputs) == 1
                self._read(value, float("inf") if handed_out else index)
        if node.op in ALLOCATING and len(node.outputs) == 1:
            self.of[node.out.name] = node.out.name
        elif node.op in SAME_MEMORY and node.inputs[0].name in self.of:
            self.of[node.out.name] = self.of[node.inputs[0].name]
        else:
            for value in node.inputs:  # a name for a part of it, perhaps: it stays
                if value.name in self.of and node.outputs and node.op not in ALLOCATING:
                    self._read(value, float("inf"))
        for value in node.outputs:
            if value.name in self.of:
                self._read(value, float("inf") if value.name in keep else index)

    def _read(self, value: Value, when: float) -> None:
        root = self.of[value.name]
        self.last[root] = max(self.last.get(root, 0), when)

    def operand(self, index: int, node: Node) -> int | None:
        """The operand that statement `index` may write over."""
        for place in range(len(EMISSION.get(node.op, NOTHING).over)):
            value = node.inputs[place]
            root = self.of.get(value.name)
            once = sum(v.name in self.of and self.of[v.name] == root for v in node.inputs) == 1
            if root and once and value.type == node.out.type and self.last[root] == index:
                return place
        return None
