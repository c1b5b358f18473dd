"""Whether two programs are the same but for texts and names of their own."""

from __future__ import annotations

import ast
from typing import Any

from lrpc.backend.sources import runtime_text


def difference(benign: str, hostile: str) -> str:
    """The first place where the modules differ in more than texts and names of their own; nothing
    where there is none. A name that a function does not bind itself must be the same in both."""
    runtime = runtime_text()
    parts = [text.split(runtime) for text in (benign, hostile)]
    if [len(p) for p in parts] != [2, 2]:
        return "the runtime is not there once, as it is"
    shape = _Shape()
    for a, b in zip(*parts, strict=True):
        try:
            tree = ast.parse(b)
        except SyntaxError as error:
            return f"not Python: {error}"
        if found := shape.differ(ast.parse(a), tree):
            return found
    return ""


class _Shape:
    """Goes through two trees side by side."""

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}
        self.locals: list[dict[str, str]] = []
        self.bound: tuple[set[str], set[str]] = (set(), set())

    def differ(self, a: Any, b: Any) -> str:
        if type(a) is not type(b):
            return f"{ast.dump(a)[:80]} became {ast.dump(b)[:80]}"
        if isinstance(a, ast.Constant):
            same = type(a.value) is type(b.value) and (
                isinstance(a.value, str) or a.value == b.value
            )
            return "" if same else f"{a.value!r} became {b.value!r}"
        if isinstance(a, ast.FunctionDef):
            return self._function(a, b)
        if isinstance(a, ast.Name):
            return self._name(a.id, b.id)
        if isinstance(a, ast.arg):
            return self._name(a.arg, b.arg)
        return self._fields(a, b)

    def _fields(self, a: ast.AST, b: ast.AST) -> str:
        for key in a._fields:
            one, other = getattr(a, key, None), getattr(b, key, None)
            pairs = [(one, other)]
            if isinstance(one, list) and isinstance(other, list):
                if len(one) != len(other):
                    return f"{type(a).__name__}.{key}: {len(one)} became {len(other)}"
                pairs = list(zip(one, other, strict=True))
            for x, y in pairs:
                if isinstance(x, ast.AST) and isinstance(y, ast.AST):
                    if found := self.differ(x, y):
                        return found
                elif x != y:
                    return f"{type(a).__name__}.{key}: {x!r} became {y!r}"
        return ""

    def _function(self, a: ast.FunctionDef, b: ast.FunctionDef) -> str:
        if self.functions.setdefault(a.name, b.name) != b.name:
            return f"def {a.name} became {b.name}"
        self.locals.append({})
        self.bound = (_bound(a), _bound(b))
        found = self._fields(ast.Module([a.args, *a.body], []), ast.Module([b.args, *b.body], []))
        self.locals.pop()
        self.bound = (set(), set())
        return found

    def _name(self, a: str, b: str) -> str:
        bound = a in self.bound[0], b in self.bound[1]
        known = self.locals[-1] if all(bound) else {a: self.functions.get(a, a)}
        same = bound[0] == bound[1] and known.setdefault(a, b) == b
        same = same and list(known.values()).count(b) == 1
        return "" if same else f"{a} became {b}"


def _bound(function: ast.FunctionDef) -> set[str]:
    nodes = list(ast.walk(function))
    stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {n.arg for n in nodes if isinstance(n, ast.arg)}
