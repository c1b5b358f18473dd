"""`lrpc rules`: the catalogue of rules and composites, as wide as the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lrpc.commands.session import arguments
from lrpc.errors import RuleError
from lrpc.rules import FAMILIES
from lrpc.rules.composite import COMPOSITES, Composite, Option
from lrpc.rules.declaration import Declaration, Param
from lrpc.rules.plugins import load_plugins
from lrpc.support.untrusted import near


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc rules` to its parser."""
    command.add_argument("name", nargs="?", help="one rule or composite in detail")
    arguments.plugins(command)


def main(args: argparse.Namespace, console: Console) -> int:
    """Print all rules and composites, or one of them; the exit code is 0."""
    load_plugins(args.plugin)
    if args.name:
        show_one(args.name, console)
    else:
        show_all(console)
    return 0


def show_all(console: Console) -> None:
    """Print every rule by family in short, then every composite."""
    for family, rules in FAMILIES.items():
        _heading(console, family)
        for rule in rules:
            console.print(Text(_signature(rule), style="bold"))
            _indented(console, rule.formula, 2)
            _indented(console, f"for {', '.join(rule.ops)}", 2, "dim")
            _indented(console, f"from {rule.source}", 2, "dim")
        console.print()
    _heading(console, "composites")
    for composite in COMPOSITES.values():
        console.print(Text(composite.name, style="bold"))
        _indented(console, composite.doc, 2)
        for option in composite.options():
            _indented(console, f"{option.name}: {option.meaning} ({needed(option)})", 4, "dim")
    console.print()
    names = "`lrpc rules NAME` tells more of a rule or a composite: parameters, sources, entries."
    console.print(Text(names))


def show_one(name: str, console: Console) -> None:
    """Print what is called `name` in detail: a rule for every kind of operation, and a composite;
    RuleError where neither is."""
    found = [(family, r) for family, rules in FAMILIES.items() for r in rules if r.name == name]
    if not found and name not in COMPOSITES:
        names = sorted({r.name for rules in FAMILIES.values() for r in rules})
        close = near(name, [*names, *COMPOSITES])
        hint = f"; did you mean {close}?" if close else ""
        raise RuleError(f"unknown rule {name!r}{hint}; there are: {', '.join(names)}")
    for family, rule in found:
        console.print(Text.assemble((rule.name, "bold"), f" for {family}"))
        _rows(console, _facts(rule))
        console.print()
    if name in COMPOSITES:
        _show_composite(COMPOSITES[name], console)


def _facts(rule: Declaration) -> Iterable[tuple[str, str]]:
    yield "operations", ", ".join(rule.ops)
    yield "formula", rule.formula
    yield "conserves", rule.conserves
    yield "source", rule.source
    for param in rule.params:
        yield param.name, f"{param.meaning}\n{param.takes}; {needed(param)}"


def _show_composite(composite: Composite, console: Console) -> None:
    console.print(Text.assemble((composite.name, "bold"), ", a composite"))
    _indented(console, composite.doc, 2)
    _rows(console, [(o.name, f"{o.meaning}; {needed(o)}") for o in composite.options()])
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=True)
    for column in ("nodes", "rule"):
        table.add_column(column, overflow="fold")
    for entry in composite.entries:
        params = ", ".join(f"{k}={setting(v)}" for k, v in entry.params.items())
        table.add_row(
            Text(entry.nodes or "all others"),
            Text(f"{entry.rule}({params})" if params else entry.rule),
        )
    console.print(Padding(table, (0, 0, 1, 2)))


def setting(value: object) -> str:
    """A parameter in an entry: its value, or the option that sets it."""
    return value.name if isinstance(value, Option) else str(value)


def needed(option: Option | Param) -> str:
    """Its default, or that it has none."""
    return "must be given" if option.default is None else f"by default {option.default}"


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"{text[0].upper()}{text[1:]}", style="bold underline"))


def _indented(console: Console, text: str, by: int, style: str = "") -> None:
    console.print(Padding(Text(text, style=style), (0, 0, 0, by)))


def _rows(console: Console, pairs: Iterable[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2, 0, 0))
    rows: Sequence[tuple[str, str]] = list(pairs)
    grid.add_column(min_width=10, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name), Text(text))
    if rows:
        console.print(Padding(grid, (0, 0, 0, 2)))


def _signature(rule: Declaration) -> str:
    params = ", ".join(f"{p.name}={_short(p)}" for p in rule.params)
    return f"{rule.name}({params})" if params else rule.name


def _short(param: Param) -> str:
    return "…" if param.default is None else str(param.default)
