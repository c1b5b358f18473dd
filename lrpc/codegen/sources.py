"""The kernel sources that programs carry, and which of them a program text needs."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from types import ModuleType

from lrpc.codegen.kernels import boxes, deformable, transposes

MODULES: tuple[ModuleType, ...] = (transposes, deformable, boxes)


@cache
def _functions() -> dict[str, str]:
    found: dict[str, str] = {}
    for module in MODULES:
        source = inspect.getsource(module)
        for item in ast.parse(source).body:
            if isinstance(item, ast.FunctionDef):
                found[item.name] = ast.get_source_segment(source, item) or ""
    return found


FUNCTIONS = frozenset(_functions())


def needed(text: str) -> str:
    """The sources of the kernels that `text` calls, with those they call, in a fixed order."""
    sources = _functions()
    found: set[str] = set()
    pending = [text]
    while pending:
        names = {n.id for n in ast.walk(ast.parse(pending.pop())) if isinstance(n, ast.Name)}
        new = (names & sources.keys()) - found
        found |= new
        pending += [sources[name] for name in new]
    return "\n\n\n".join(source for name, source in sources.items() if name in found)
