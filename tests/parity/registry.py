"""Which rules are held against another package.

A test file of this folder says so in a literal at its top level,

    PARITY = ((op, rule, package, test), ...)

Where the test goes over several operations or rules, `op` and `rule` hold their names with spaces
between them; `test` is the name of the function, without its file.
"""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent


class Row(NamedTuple):
    """`rule` on `op` gives what `package` gives; `test` is `file::function`."""

    op: str
    rule: str
    package: str
    test: str


def rows() -> tuple[Row, ...]:
    """What all files declare, read as text: the packages need not be installed."""
    found: list[Row] = []
    for path in sorted(FOLDER.glob("test_*.py")):
        tree = ast.parse(path.read_text())
        functions = {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}
        for op, rule, package, test in _declared(tree):
            if test not in functions:
                raise ValueError(f"{path.name}: PARITY names {test!r}, which it has not")
            pairs = product(op.split(), rule.split())
            found += [Row(*pair, package, f"{path.name}::{test}") for pair in pairs]
    return tuple(found)


def _declared(tree: ast.Module) -> tuple[tuple[str, str, str, str], ...]:
    for part in tree.body:
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "PARITY":
            declared: tuple[tuple[str, str, str, str], ...] = ast.literal_eval(part.value)
            return declared
    return ()
