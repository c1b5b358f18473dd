"""The command `lrpc plan`."""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

from rich.console import Console

from lrpc.backend.memory.expressions import Peak, peaks
from lrpc.backend.memory.reasons import readers
from lrpc.backend.memory.run import Model
from lrpc.commands.plan.picture import picture
from lrpc.commands.plan.shapes import to_image, to_svg
from lrpc.commands.plan.tables import (
    any_size,
    budgets,
    chart,
    largest,
    layers,
    reasons,
    recomputed,
    summary,
)
from lrpc.commands.plan.view import View, views
from lrpc.commands.session.arguments import check_known
from lrpc.commands.session.given_sizes import given_size
from lrpc.commands.session.units import size
from lrpc.program.call_limits import limits_of
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.memory_of import open_model
from lrpc.support.files import shown, write_bytes
from lrpc.support.terminal import say


def main(args: argparse.Namespace, console: Console) -> int:
    """Print the plan of a program, and draw it where that is asked for."""
    model = open_model(args.program, args.plugin)
    model.sizes = given_size(args.size, model.graph.sizes)
    targets = _targets(model, args.composite, args.target)
    found = views(model, targets, args.batch, args.seeds)
    view = max(found, key=lambda view: view.timeline.peak)
    chosen = targets[found.index(view)]
    if args.saved:
        why = readers(model, chosen)
        say(console, f"{view.name}: {len(why)} saved values")
        console.print(reasons(model.graph, view.saved, why))
    else:
        _show(view, found, model, targets, args, console)
    for path, write in ((args.svg, _write_svg), (args.png, _write_png)):
        if path is not None:
            write(path, view, args.program.resolve().name)
            say(console, f"written: {shown(path)}")
    return 0


def _show(
    view: View,
    found: list[View],
    model: Model,
    chosen: list[int],
    args: argparse.Namespace,
    console: Console,
) -> None:
    weights = model.weight_bytes
    many = f"{view.batch} image(s), {view.seeds} seed(s), {model.per_pass or model.chunk} in a pass"
    blocks = f", {model.chunk} at once through a block" if model.per_pass else ""
    many += "".join(f", {name} = {length}" for name, length in model.sizes.items())
    megabytes = f"beside {weights / 1e6:.1f} MB of weights"
    say(console, f"{many}{blocks}; {megabytes}")
    if model.recomputed:
        console.print("recomputed for relevance", style="bold", highlight=False)
        console.print(recomputed(model.scheduler.kept_and_made(model.recomputed)))
    console.print(summary(found))
    if model.graph.sizes and not args.size:
        _show_any_size(found, peaks(model, chosen, args.batch, args.seeds), model, console)
    limits = limits_of(manifest_of(args.program))
    if not limits.keeps(model.sizes):
        known = ", ".join(map(str, limits.planned))
        say(
            console,
            f"LRPC.MEMORY.BUDGET is kept for sizes up to {known}: calls of this are refused",
        )
    elif limits.budget:
        limits = limits.at(model.sizes)
        composite = model.codes[chosen[0]].composite or next(iter(limits.own.plans))
        names = [model.codes[i].name for i in chosen]
        text = f"calls under the budget of {size(limits.budget)} (LRPC.MEMORY.BUDGET)"
        say(console, text, "bold")
        console.print(budgets(limits, composite, names, args.batch, args.seeds))
    say(console, f"{view.name} over program time", "bold")
    for line in chart(view, min(console.width, 120)):
        console.print(line, no_wrap=True, overflow="crop", crop=True)
    where = view.timeline.modules[view.top] or "outside any module"
    console.print()
    say(console, f"largest at the worst step ({where})", "bold")
    console.print(largest(view, console.width))
    console.print("saved by layer", style="bold")
    console.print(layers(view.saved, console.width))


def _show_any_size(
    found: list[View], expressions: list[Peak | None], model: Model, console: Console
) -> None:
    by_step: dict[int, list[str]] = {}
    for one in model.graph.sizes:
        by_step.setdefault(one.step, []).append(one.name)
    told = "; ".join(f"{', '.join(names)} in steps of {n}" for n, names in by_step.items())
    say(console, f"peak in bytes at any {told}: the largest of its rows", "bold")
    console.print(any_size([view.name for view in found], expressions))


def _targets(model: Model, composite: str | None, target: str | None) -> list[int]:
    """The targets under one composite, by default the first; or one of them."""
    known = list(dict.fromkeys(code.composite for code in model.codes))
    wanted = known[0] if composite is None else composite
    if wanted not in known:
        check_known("--composite", wanted, known if known[0] else ["one alone, without a choice"])
    found = [i for i, code in enumerate(model.codes) if code.composite == wanted]
    if target is None:
        return found
    names = [model.codes[i].name for i in found]
    check_known("--target", target, names)
    return [found[names.index(target)]]


def _write_svg(path: Path, view: View, program: str) -> None:
    text = to_svg(*picture(view, program))
    write_bytes(path, text.encode())


def _write_png(path: Path, view: View, program: str) -> None:
    data = BytesIO()
    to_image(*picture(view, program)).save(data, "PNG")
    write_bytes(path, data.getvalue())
