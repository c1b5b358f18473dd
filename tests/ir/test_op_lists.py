"""What an operation is stands in its row: nowhere else are operations listed by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrpc.ir.ops import TABLE

ROOT = Path(__file__).resolve().parents[2]
LEAST = 3  # fewer name a structure that a pass looks for


def named(part: ast.AST | None) -> set[str]:
    """The texts that a collection is written with, in parts put together if need be."""
    match part:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.Set(elts=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            return set().union(*map(named, parts))
        case ast.Dict(keys=keys, values=values):
            return set() if all(map(is_code, values)) else set().union(*map(named, keys))
        case ast.Starred(value=inner):
            return named(inner)
        case ast.BinOp(left=left, right=right):
            return named(left) | named(right)
        case ast.Call(args=args):
            return set().union(*map(named, args))
        case ast.BoolOp(values=values):
            return set().union(*map(named, values))
        case ast.Compare(comparators=[one]):
            return named(one)
        case ast.MatchOr(patterns=patterns):
            return set().union(*(named(getattr(p, "value", None)) for p in patterns))
    return set()


def is_code(value: ast.AST | None) -> bool:
    """Whether an entry of a table is a function, or several: an implementation, no property."""
    if isinstance(value, ast.Starred):
        return True  # of another such table
    if isinstance(value, ast.Tuple):
        return all(map(is_code, value.elts))
    return isinstance(value, ast.Name | ast.Call | ast.Lambda)


def lists(text: str) -> Iterator[tuple[int, set[str]]]:
    """Where operations are listed: the line, and the operations."""
    seen: set[int] = set()
    for part in ast.walk(ast.parse(text)):
        texts = set() if id(part) in seen else named(part)
        found = texts & TABLE.keys()
        if len(found) >= LEAST and 2 * len(found) > len(texts):
            seen |= {id(inner) for inner in ast.walk(part)}
            yield getattr(part, "lineno", 0), found


def test_operations_are_listed_in_their_table_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {sorted(found)}: make it a trait or a family"
        for folder in ("lrpc", "passes", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.parent != ROOT / "lrpc" / "ir" / "ops"
        for line, found in lists(path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        'X = frozenset({"add", "sub", "mul"})',
        'X = Y | {"add"} | {"sub"} | {"mul"}',
        'X = (*("add", "sub"), "mul")',
        'X: dict[str, float] = {"add": 1.0, "sub": 2.0, "mul": 3.0}',
        'if node.op == "add" or node.op == "sub" or op in ("mul",): pass',
        'match op:\n    case "add" | "sub" | "mul": pass',
    ],
)
def test_lists_are_seen_however_they_are_written(text: str) -> None:
    assert [found for _, found in lists(text)] == [{"add", "sub", "mul"}]


@pytest.mark.parametrize(
    "text",
    [
        'X = {"add", "sub"}',
        'X = {"add": add, "sub": sub, "mul": (first, second)}',
        'X = {"add", "sub", "mul", "view", "narrow", "chunk"}',
    ],
)
def test_pairs_implementations_and_names_of_torch_are_no_lists(text: str) -> None:
    assert not list(lists(text))
