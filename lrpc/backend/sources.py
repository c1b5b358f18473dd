"""The kernel sources that programs carry, and which of them a program text needs."""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from types import ModuleType

from lrpc.runtime import arguments as given
from lrpc.runtime import (
    calls,
    capture,
    chunks,
    conditions,
    copies,
    figures,
    indices,
    interface,
    ledgers,
    limits,
    loading,
    manifests,
    opening,
    pages,
    requests,
    results,
    seeds,
    settings,
    sizes,
    weights,
)
from lrpc.runtime import program as runtime
from lrpc.runtime import result_buffers as rooms
from lrpc.runtime.kernels import (
    boxes,
    broadcasts,
    cells,
    deformable,
    grids,
    linears,
    ratios,
    slopes,
    softmaxes,
    transposes,
    triton_deformable,
    triton_ratios,
    triton_support,
)

RUNTIME: tuple[ModuleType, ...] = (
    *(loading, given, sizes, settings, manifests, copies, figures, results, rooms, limits),
    *(indices, seeds, conditions, interface, requests, calls, capture, pages, runtime, opening),
)
MODULES: tuple[ModuleType, ...] = (
    *(weights, linears, transposes, broadcasts, ratios, slopes, softmaxes, ledgers),
    *(cells, deformable, grids, boxes, chunks),
)
TRITON: tuple[ModuleType, ...] = (triton_ratios, triton_deformable)  # on top of triton_support


_source = cache(inspect.getsource)


@cache
def _items(module: ModuleType) -> list[ast.stmt]:
    """The statements of a module."""
    return ast.parse(_source(module)).body


@cache
def _functions() -> dict[str, tuple[str, frozenset[str]]]:
    """The source of each kernel, and the names that stand in it."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for module in MODULES:
        lines = _source(module).splitlines()
        for item in _items(module):
            if isinstance(item, ast.FunctionDef):
                text = "\n".join(lines[item.lineno - 1 : item.end_lineno])
                found[item.name] = (text, _read(item))
    return found


def _read(tree: ast.AST) -> frozenset[str]:
    return frozenset(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))


FUNCTIONS = frozenset(_functions())


def needed(called: Iterable[str]) -> str:
    """The sources of the kernels `called`, with those they call, in a fixed order."""
    sources = _functions()
    found: set[str] = set()
    pending = [frozenset(called)]
    while pending:
        new = (pending.pop() & sources.keys()) - found
        found |= new
        pending += [sources[name][1] for name in new]
    carried = [(source, names) for name, (source, names) in sources.items() if name in found]
    names = frozenset[str]().union(*(names for _, names in carried))
    used = tuple(module for module in TRITON if names & _defined(module))
    triton = (triton_support, *used) if used else ()
    first = [_bodies(triton)] if used else []
    return "\n\n\n".join([*first, *(source for source, _ in carried)])


@cache
def names_in(text: str) -> frozenset[str]:
    """The names that a piece of Python speaks of."""
    return _read(ast.parse(text))


def _defined(module: ModuleType) -> set[str]:
    return {item.name for item in _items(module) if isinstance(item, ast.FunctionDef)}


@cache
def imports_text(triton: bool) -> str:
    """What every program imports; with `triton`, what its kernels need as well."""
    wanted = "from __future__ import annotations", "import torch.nn.functional as F"
    more = (triton_support, *TRITON) if triton else ()
    return _import_block({*_imports((*RUNTIME, *more)), *wanted})


@cache
def runtime_text() -> str:
    """The runtime modules one after the other, which are the same in every program."""
    return _bodies(RUNTIME)


def _names() -> frozenset[str]:
    """What every program's module defines or imports, whichever kernels it carries."""
    found = {"forward", "load", "INTERFACE"}
    for module in (*RUNTIME, *MODULES, triton_support, *TRITON):
        for item in _items(module):
            if isinstance(item, ast.FunctionDef | ast.ClassDef):
                found.add(item.name)
            elif isinstance(item, ast.Import | ast.ImportFrom):
                found |= {(n.asname or n.name).split(".")[0] for n in item.names}
            elif not isinstance(item, ast.Expr):
                stores = (n for n in ast.walk(item) if isinstance(n, ast.Name))
                found |= {n.id for n in stores if isinstance(n.ctx, ast.Store)}
    return frozenset(found)


GLOBALS = _names()


def _imports(modules: tuple[ModuleType, ...]) -> set[str]:
    """What modules import from elsewhere, a statement each."""
    found: set[str] = set()
    for item in (item for module in modules for item in _items(module)):
        if isinstance(item, ast.Import | ast.ImportFrom) and not _own(item):
            found |= {ast.unparse(part) for part in _single(item)}
    return found


def _bodies(modules: tuple[ModuleType, ...]) -> str:
    """Modules one after the other, without docstrings and imports."""
    bodies = []
    for module in modules:
        items = _items(module)[1:]  # without the docstring
        first = next(i for i in items if not isinstance(i, ast.Import | ast.ImportFrom))
        start = min([first.lineno, *(d.lineno for d in getattr(first, "decorator_list", []))])
        bodies.append("\n".join(_source(module).splitlines()[start - 1 :]).rstrip())
    return "\n\n\n".join(bodies)


def _own(item: ast.Import | ast.ImportFrom) -> bool:
    """Whether the whole text has it anyway: an import within lrpc, or from the future."""
    module = item.module or "" if isinstance(item, ast.ImportFrom) else ""
    return module.startswith("lrpc") or module == "__future__"


def _single(item: ast.Import | ast.ImportFrom) -> list[ast.Import | ast.ImportFrom]:
    if isinstance(item, ast.Import):
        return [ast.Import([name]) for name in item.names]
    return [ast.ImportFrom(item.module, [name], item.level) for name in item.names]


def _import_block(imports: set[str]) -> str:
    """Statements that import one name each as a block: those of a module in one, torch last."""
    modules = defaultdict(list)
    for text in sorted(imports, key=str.casefold):
        head, _, name = text.rpartition(" import ")
        modules[head].append(name or text)
    lines = [f"{head} import {', '.join(names)}" for head, names in modules.items() if head]
    lines = [*modules.get("", ()), *lines]
    future = [line for line in lines if "__future__" in line]
    third = [line for line in lines if line.split()[1].split(".")[0] in ("torch", "triton")]
    rest = [line for line in lines if line not in (*future, *third)]
    return "\n\n".join("\n".join(group) for group in (future, rest, third) if group)
