"""Imports run one way, programs import torch alone, files and functions stay short."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path for folder in ("lrpc", "passes", "tools") for path in (ROOT / folder).rglob("*.py")
)

#: Which parts of the compiler each part may import, beside those below all of them; the package
#: itself (`lrpc.__version__`) is open to all.
ALLOWED: dict[str, set[str]] = {
    "lrpc.errors": set(),
    "lrpc.support": set(),
    "lrpc.config": set(),
    "lrpc.models": {"lrpc.config"},
    "lrpc.runtime": set(),  # what programs carry: torch alone
    "lrpc.results": set(),  # files of jobs: read without torch
    "lrpc.ir": set(),
    "lrpc.rules": {"lrpc.ir"},
    "lrpc.frontend": {"lrpc.ir"},
    "passes": {"lrpc.ir", "lrpc.rules"},
    "lrpc.backend": {"lrpc.ir", "lrpc.runtime", "passes"},
    "lrpc.program": {
        *("lrpc.backend", "lrpc.config", "lrpc.frontend", "lrpc.ir", "lrpc.models", "lrpc.rules"),
        *("lrpc.runtime", "passes"),
    },
    "lrpc.export": {
        *("lrpc.backend", "lrpc.ir", "lrpc.models", "lrpc.program", "lrpc.rules", "lrpc.runtime"),
        "passes",
    },
    "lrpc.compiler": {
        *("lrpc.config", "lrpc.frontend", "lrpc.ir", "lrpc.models", "lrpc.program", "lrpc.rules"),
        *("lrpc.runtime", "passes"),
    },
    "lrpc.attribution": set(),
    "lrpc.explainer": {"lrpc.attribution", "lrpc.compiler", "lrpc.frontend", "lrpc.rules"},
    "lrpc.commands": {
        *("lrpc.backend", "lrpc.compiler", "lrpc.config", "lrpc.export", "lrpc.ir", "lrpc.models"),
        *("lrpc.program", "lrpc.results", "lrpc.rules", "lrpc.runtime", "passes"),
    },
    "lrpc.cli": {"lrpc.commands", "lrpc.runtime"},
    "lrpc.__main__": {"lrpc.cli"},
    "lrpc.door": {"lrpc.commands", "lrpc.program", "lrpc.results", "lrpc.runtime"},
    "lrpc": {  # on demand
        *("lrpc.commands", "lrpc.compiler", "lrpc.door", "lrpc.explainer", "lrpc.program"),
        *("lrpc.results", "lrpc.rules"),
    },
}

#: What everything may use.
BELOW = ("lrpc.errors", "lrpc.support")

#: Which packages of `lrpc.commands` each may import; the parser of the command line knows all.
COMMANDS: dict[str, set[str]] = {
    "session": set(),
    "drawing": {"session"},
    "jobs": {"session"},
    **{
        name: {"session", "drawing", "jobs"}
        for name in (
            *(
                "analyze",
                "bench",
                "compare",
                "compile",
                "concepts",
                "config",
                "demo",
                "evaluate",
                "example",
                "export",
                "opt",
            ),
            *("plan", "report", "rules", "run", "show", "verify"),
        )
    },
    "tune": {"session", "evaluate"},
    "completion": {"parser"},  # of which it reads all arguments
}

#: Longer than the habit allows, and why.
LONG_FILES = {
    "lrpc/runtime/program.py": 320,  # what a program's user calls, in one place
}
LONG_FUNCTIONS = {
    "lrpc/runtime/program.py:relevance": 75,  # a third of it lists the options
    "lrpc/compiler.py:compile": 110,  # most of it lists the options and says what they are
    "lrpc/compiler.py:_compiled": 75,  # the stages in order; half of it lists facts
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def part_of(module: str) -> str:
    """`lrpc.ir.ops.row` → `lrpc.ir`; `passes.flow` → `passes`."""
    names = module.split(".")
    return ".".join(names[:2]) if names[0] == "lrpc" else names[0]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            module = node.module or ""
            inside = [f"{module}.{alias.name}" for alias in node.names]
            yield from (
                (node.lineno, m if module in ("lrpc", "passes") else module) for m in inside
            )


def test_imports_run_one_way() -> None:
    wrong = []
    for path in SOURCES:
        part = part_of(module_of(path))
        if part == "tools":
            continue
        assert part in ALLOWED, f"{part} is new: say in ALLOWED what it may import"
        for line, module in imports(path):
            other = part_of(module)
            ours = other.split(".")[0] in ("lrpc", "passes", "tests", "tools")
            free = other in (part, "lrpc", *BELOW)
            if ours and not free and other not in ALLOWED[part]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {part} must not import {module}")
    assert not wrong, "\n".join(wrong)


def test_commands_stand_apart() -> None:
    wrong = []
    for path in (ROOT / "lrpc" / "commands").rglob("*.py"):
        own = module_of(path).split(".")[2:3]
        if own in ([], ["parser"], ["arguments"]):
            continue
        for line, module in imports(path):
            other = module.removeprefix("lrpc.commands.").split(".")[0]
            free = other in (own[0], *COMMANDS[own[0]])
            if module.startswith("lrpc.commands.") and not free:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {own[0]} must not import {module}")
    assert not wrong, "\n".join(wrong)


def test_no_part_needs_itself_to_be_imported() -> None:
    """ALLOWED has no cycle, the lazy `lrpc` aside."""
    done: set[str] = set()

    def visit(part: str, above: tuple[str, ...]) -> None:
        assert part not in above, f"cycle: {' → '.join((*above, part))}"
        if part not in done:
            for other in ALLOWED[part]:
                visit(other, (*above, part))
            done.add(part)

    for part in ALLOWED:
        visit(part, ())


def test_programs_carry_torch_and_the_standard_library_only() -> None:
    for path in sorted((ROOT / "lrpc" / "runtime").rglob("*.py")):
        for line, module in imports(path):
            top = module.split(".")[0]
            fine = top in ("torch", *sys.stdlib_module_names)
            own = module.startswith("lrpc.runtime")
            assert fine or own or top == "triton", f"{path.name}:{line}: {module}"


def test_nothing_is_imported_from_tests() -> None:
    for path in SOURCES:
        # The tools that write the tests' own files, and the page on what the tests hold.
        pages = ("make_coverage.py", "make_operations.py", "make_models.py")
        keeper = path.name in ("update_golden.py", *pages)
        assert keeper or all(part_of(module) != "tests" for _, module in imports(path)), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text, name = path.read_text(), str(path.relative_to(ROOT))
    assert len(text.splitlines()) <= LONG_FILES.get(name, 300), name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONG_FUNCTIONS.get(f"{name}:{node.name}", 60), f"{name}:{node.name}"
