"""What differs between two graphs, node by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from lrpc.ir.graph import Graph, Node
from lrpc.ir.printer import print_attr, print_node, print_rule, print_value

FIELDS = ("op", "inputs", "types", "role", "rule", "attributes", "loc")


@dataclass(frozen=True, slots=True)
class Change:
    """One entry: a node added (no `old`), removed (no `new`), or changed in `fields`."""

    old: Node | None
    new: Node | None
    fields: tuple[tuple[str, str, str], ...] = ()  # field, before, after

    @property
    def module(self) -> str:
        node = self.new or self.old
        return node.loc.module if node else ""


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs: lines of the graphs' heads, nodes, and whether only the order does."""

    heads: tuple[tuple[str, str], ...]  # ("-" or "+", line)
    changes: tuple[Change, ...]
    same: int
    reordered: bool

    def __bool__(self) -> bool:
        return bool(self.heads or self.changes or self.reordered)


def compare(a: Graph, b: Graph) -> Difference:
    """How `b` differs from `a`; nodes are one where their first values have the same name."""
    old, new = _keyed(a), _keyed(b)
    changes = tuple(_changes(old, new))
    common_a = [key for key in old if key in new]
    common_b = [key for key in new if key in old]
    same = len(common_b) - sum(1 for change in changes if change.old and change.new)
    return Difference(tuple(_heads(a, b)), changes, same, common_a != common_b)


def _keyed(graph: Graph) -> dict[str, Node]:
    """Nodes by the name of their first value; ones without a value by their text and its count."""
    seen: Counter[str] = Counter()
    found = {}
    for node in graph.nodes:
        if node.outputs:
            found["%" + node.out.name] = node
            continue
        text = f"{node.op}({' '.join(map(print_value, node.inputs))}) {node.attrs}"
        seen[text] += 1
        found[f"{text} {seen[text]}"] = node
    return found


def _changes(old: dict[str, Node], new: dict[str, Node]) -> Iterator[Change]:
    """In the order of `new`, each removed node in front of what followed it in `old`."""
    gone: dict[str, list[Node]] = {}
    waiting: list[Node] = []
    for key, node in old.items():
        if key in new:
            gone[key], waiting = waiting, []
        else:
            waiting.append(node)
    for key, node in new.items():
        yield from (Change(removed, None) for removed in gone.get(key, ()))
        before = old.get(key)
        if before is None:
            yield Change(None, node)
        elif before != node:
            yield Change(before, node, tuple(_fields(before, node)))
    yield from (Change(removed, None) for removed in waiting)


def _fields(a: Node, b: Node) -> Iterator[tuple[str, str, str]]:
    for field, before, after in zip(FIELDS, _texts(a), _texts(b), strict=True):
        if before != after:
            yield field, before or "none", after or "none"


def _texts(node: Node) -> tuple[str, ...]:
    return (
        node.op,
        ", ".join(map(print_value, node.inputs)),
        ", ".join(f"{print_value(v)}: {v.type}" for v in node.outputs),
        node.role,
        print_rule(node.rule) if node.rule else "",
        ", ".join(f"{key}={print_attr(value)}" for key, value in node.attrs),
        str(node.loc),
    )


def _heads(a: Graph, b: Graph) -> Iterator[tuple[str, str]]:
    before, after = _head_lines(a), _head_lines(b)
    yield from (("-", line) for line in before if line not in after)
    yield from (("+", line) for line in after if line not in before)


def _head_lines(graph: Graph) -> dict[str, None]:
    lines = [f"graph @{graph.name}"]
    lines += [f"input {print_value(v)}: {v.type}" for v in graph.inputs]
    lines += [f'weight "{name}": {kind}' for name, kind in graph.weights]
    for kind, pairs in (("place", graph.places), ("output", graph.outputs)):
        lines += [f'{kind} "{name}" {print_value(v)}: {v.type}' for name, v in pairs]
    return dict.fromkeys(lines)


def lines(found: Difference, names: Sequence[str]) -> Iterator[Text]:
    """The difference as coloured lines in the manner of a unified diff, grouped by module."""
    yield Text(f"--- {names[0]}", style="bold")
    yield Text(f"+++ {names[1]}", style="bold")
    for sign, line in found.heads:
        yield Text(f"{sign} {line}", style="red" if sign == "-" else "green")
    module: str | None = None
    for change in found.changes:
        if change.module != module:
            module = change.module
            yield Text(f"@@ {module or '(no module)'} @@", style="cyan")
        yield from _lines_of(change)
    if found.reordered:
        yield Text("! common nodes stand in another order", style="yellow")


def _lines_of(change: Change) -> Iterator[Text]:
    if change.old and not change.new:
        yield Text(f"- {print_node(change.old)}", style="red")
    elif change.new and not change.old:
        yield Text(f"+ {print_node(change.new)}", style="green")
    elif change.new:
        outputs = ", ".join(map(print_value, change.new.outputs))
        yield Text(f"~ {outputs} = {change.new.op}".replace("~  = ", "~ "), style="yellow")
        for field, before, after in change.fields:
            text = Text(f"    {field}: ", style="dim")
            yield (
                text.append(before, style="not dim red")
                .append(" → ")
                .append(after, style="not dim green")
            )


def summary(found: Difference) -> str:
    """One line of counts."""
    if not found:
        return f"no difference in {found.same} nodes"
    kinds = Counter(
        "changed" if c.old and c.new else "added" if c.new else "removed" for c in found.changes
    )
    fields = Counter(field for change in found.changes for field, _, _ in change.fields)
    detail = ", ".join(f"{field} {fields[field]}" for field in FIELDS if fields[field])
    changed = f"{kinds['changed']} changed" + (f" ({detail})" if detail else "")
    head = f"; {len(found.heads)} lines of the head" if found.heads else ""
    order = "; another order" if found.reordered else ""
    counts = f"{kinds['added']} added, {kinds['removed']} removed, {changed}, {found.same} the same"
    return counts + head + order
