"""The plan in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from lrpc.backend.memory.expressions import Peak, text
from lrpc.backend.memory.log import Storage
from lrpc.backend.memory.plan import by_layer, layer_name
from lrpc.backend.memory.reasons import Reader
from lrpc.commands.plan.dotted import Dotted
from lrpc.commands.plan.figures import LOOKS, alive, by_part, columns
from lrpc.commands.plan.view import View
from lrpc.commands.session.units import size
from lrpc.ir.graph import Graph
from lrpc.runtime.limits import Call, Limits
from lrpc.runtime.loading import ProgramError

HEIGHT, AXIS = 12, 9  # lines of the chart, characters of its axis
BAR = 28
NARROW = 100  # columns of a terminal below which tables leave something out


def summary(found: Sequence[View]) -> Table:
    """One line a target: what is saved for it, what each call adds at most, and the peak."""
    table = _table()
    table.add_column("target", no_wrap=True)
    for name in ("saved", "forward", "relevance", "peak"):
        table.add_column(name, justify="right")
    for view in found:
        table.add_row(
            Text(view.name),
            size(sum(s.size for s in view.saved)),
            size(view.timeline.forward_peak),
            f"+{size(view.timeline.relevance_peak)}",
            size(view.timeline.peak),
        )
    return table


def any_size(names: Sequence[str], peaks: Sequence[Peak | None]) -> Table:
    """The peak of each target as an expression in the sizes of images."""
    table = _table()
    table.add_column("target", no_wrap=True)
    table.add_column("peak", overflow="fold")
    for name, peak in zip(names, peaks, strict=True):
        rows = ["no polynomial of degree 2; give --size"] if peak is None else map(text, peak.rows)
        for i, row in enumerate(rows):
            table.add_row(Text("" if i else name), row)
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def chart(view: View, width: int) -> list[Text]:
    """Live bytes over program time, stacked by part; a column shows the worst of its steps."""
    timeline, parts = view.timeline, by_part(view.timeline)
    steps = columns(timeline.live, max(20, width - AXIS - 2))
    most = timeline.peak or 1
    lines = []
    for row in range(HEIGHT, 0, -1):
        level = most * (row - 0.5) / HEIGHT
        shown = size(most * row / HEIGHT) if row in (HEIGHT, HEIGHT // 2) else ""
        line = Text(f"{shown:>{AXIS}} ", style="dim")
        for step in steps:
            part = _part_at({name: line[step] for name, line in parts.items()}, level)
            line.append("█" if part else " ", style=LOOKS[part][1] if part else "")
        lines.append(line)
    turn = sum(step < timeline.turn for step in steps)
    halves = "└" + "forward".center(max(turn - 1, 7), "─")
    rest = "┴" + "relevance".center(max(len(steps) - turn - 1, 9), "─")
    lines.append(Text(" " * (AXIS + 1) + halves + rest, style="dim"))
    return [*lines, *_legend({n: counts[view.top] for n, counts in parts.items()}, width)]


def _legend(parts: Mapping[str, int], width: int) -> list[Text]:
    """Colours, words and bytes at the worst step, in as many lines as they need."""
    lines = [Text(" " * (AXIS + 1))]
    for name, count in parts.items():
        words, colour = LOOKS[name]
        entry = Text("█ ", style=colour).append(f"{words} {size(count)}  ", style="default")
        if len(lines[-1]) > AXIS + 1 and len(lines[-1]) + len(entry) - 2 > width:
            lines.append(Text(" " * (AXIS + 1)))
        lines[-1].append_text(entry)
    return lines


def _part_at(parts: Mapping[str, int], level: float) -> str:
    below = 0
    for name, count in parts.items():
        below += count
        if level < below:
            return name
    return ""


def largest(view: View, width: int, count: int = 12) -> Table:
    """The largest of what is alive at the worst step; without operations where lines are short."""
    table = _table()
    table.add_column("size", justify="right", no_wrap=True)
    wide = width >= NARROW
    for name in ("part", "value", "op")[: 3 if wide else 2]:
        table.add_column(name, no_wrap=True)
    table.add_column("module", overflow="fold")
    for s in alive(view.timeline, view.top)[:count]:
        words, colour = LOOKS[s.part]
        cells = [Text(words, colour), Text(s.name), *([Text(s.op)] if wide else [])]
        table.add_row(size(s.size), *cells, Dotted(s.module, "dim"))
    return table


def recomputed(blocks: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> Table:
    """The blocks that relevance recomputes, those of a kind together: what the state keeps of them,
    and what is made anew."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for key, (kept, made) in blocks.items():
        kinds.setdefault((", ".join(kept) or "nothing", ", ".join(made)), []).append(key)
    table = _table()
    for name in ("block", "kept", "recomputed"):
        table.add_column(name, overflow="fold")
    for (kept, made), keys in kinds.items():
        table.add_row(Dotted("\n".join(keys)), Dotted(kept), Dotted(made, LOOKS["recomputed"][1]))
    return table


def layers(saved: Sequence[Storage], width: int) -> Table:
    """Saved bytes of every layer, with a bar."""
    longest = BAR if width >= NARROW else BAR // 4
    found = by_layer(saved)
    most, total = max(found.values(), default=1), sum(found.values()) or 1
    table = _table()
    table.add_column("layer", overflow="fold")
    table.add_column("saved", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, count in found.items():
        bar = Text("█" * round(longest * count / most), LOOKS["state"][1])
        table.add_row(Dotted(name), size(count), f"{count / total:.1%}", bar)
    return table


def reasons(graph: Graph, saved: Sequence[Storage], why: Mapping[str, Sequence[Reader]]) -> Table:
    """Every saved value, in program order: its type, and the rules that read it. A value that lies
    in the storage of another is marked with it."""
    own = {s.name: s for s in saved}
    table = _table()
    for name in ("saved value", "type", "size", "layer", "read by"):
        table.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    producers = graph.producers
    for value in graph.values():
        if value.name not in why:
            continue
        node = producers.get(value.name)
        found = own.get(value.name)
        table.add_row(
            Dotted(f"%{value.name}"),
            Dotted(str(value.type)),
            size(found.size) if found else "input" if node is None else "shared",
            Dotted(layer_name(node.loc.module) if node else ""),
            Dotted("\n".join(map(str, why[value.name]))),
        )
    return table


def budgets(
    limits: Limits, composite: str, targets: Sequence[str], batch: int, seeds: int
) -> Table:
    """One line a target, without and with ledger: images, seeds from block to block and seeds in a
    block at a time, and the most bytes that the call holds; or what keeps it from the budget."""
    table = _table()
    table.add_column("target", no_wrap=True)
    for name in ("images", "seeds", "in a block", "at most", "results"):
        table.add_column(name, justify="right")
    for target in targets:
        for ledger in (False, True):
            places = frozenset(limits.own.plans[composite][target]["results"])
            call = Call(composite, target, places, ledger, batch, seeds)
            name = f"{target}, with its ledger" if ledger else target
            table.add_row(Text(name), *_budget_row(limits, call))
    return table


def _budget_row(limits: Limits, call: Call) -> list[str]:
    try:
        split = limits.split(call, call.batch)
    except ProgramError:
        least = limits.least(call)
        needed, results = limits.needs(call, least), limits.results(call, least)
        return ["refused", "", "", f"{size(needed)} needed", size(results)]
    shown = (str(split.images), str(split.per_pass), str(split.chunk))
    return [*shown, size(limits.needs(call, split)), size(limits.results(call, split))]
