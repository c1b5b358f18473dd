"""`lrpc rules`: the catalogue of rules and composites as tables."""

from __future__ import annotations

import difflib

from rich.console import Console
from rich.table import Table

from lrpc.errors import RuleError
from lrpc.rules import FAMILIES
from lrpc.rules.composite import COMPOSITES
from lrpc.rules.declaration import Declaration, Param


def show_all(console: Console) -> None:
    """Print every rule by family, then every composite with its entries."""
    for family, rules in FAMILIES.items():
        table = Table(title=family, title_justify="left", show_lines=False, expand=True)
        for column, ratio in (
            ("rule", 2),
            ("for", 3),
            ("formula", 5),
            ("conserves", 3),
            ("source", 4),
        ):
            table.add_column(column, ratio=ratio, overflow="fold")
        for rule in rules:
            table.add_row(
                _signature(rule), ", ".join(rule.ops), rule.formula, rule.conserves, rule.source
            )
        console.print(table)
    for composite in COMPOSITES.values():
        table = Table(title=f"composite {composite.name}: {composite.doc}", title_justify="left")
        for column in ("role", "op", "rule"):
            table.add_column(column)
        for entry in composite.entries:
            params = ", ".join(f"{k}={v}" for k, v in entry.params.items())
            table.add_row(entry.role, entry.op, f"{entry.rule}({params})" if params else entry.rule)
        console.print(table)


def show_one(name: str, console: Console) -> None:
    """Print one rule in detail, for every kind of op that it is defined for; RuleError if
    unknown."""
    found = [(family, r) for family, rules in FAMILIES.items() for r in rules if r.name == name]
    if not found:
        names = sorted({r.name for rules in FAMILIES.values() for r in rules})
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RuleError(f"unknown rule {name!r}{hint}; there are: {', '.join(names)}")
    for family, rule in found:
        console.print(f"[bold]{rule.name}[/] for {family}: {', '.join(rule.ops)}", highlight=False)
        console.print(f"  formula    {rule.formula}", markup=False, highlight=False)
        console.print(f"  conserves  {rule.conserves}", markup=False, highlight=False)
        console.print(f"  source     {rule.source}", markup=False, highlight=False)
        for param in rule.params:
            console.print(
                f"  {param.name} = {param.default}  {_range(param)}  {param.meaning}",
                markup=False,
                highlight=False,
            )
        console.print()


def _signature(rule: Declaration) -> str:
    params = ", ".join(f"{p.name}={p.default}" for p in rule.params)
    return f"{rule.name}({params})" if params else rule.name


def _range(param: Param) -> str:
    if param.words:
        return "|".join(param.words)
    return f"in [{param.low:g}, {param.high:g}]"
