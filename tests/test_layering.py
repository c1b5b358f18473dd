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
    "lrpc.files": set(),
    "lrpc.swap": set(),
    "lrpc.stopping": set(),
    "lrpc.checkpoints": set(),
    "lrpc.visible": set(),
    "lrpc.terminal": {"lrpc.visible"},
    "lrpc.bounded": set(),
    "lrpc.config": {"lrpc.bounded"},
    "lrpc.ir": {"lrpc.bounded"},
    "lrpc.plan": set(),  # plain lists in, plain lists out
    "lrpc.weights": {"lrpc.checkpoints"},
    "lrpc.models": {"lrpc.config", "lrpc.weights"},
    "lrpc.rules": {"lrpc.ir"},
    "lrpc.catalogue": {"lrpc.rules"},
    "lrpc.frontend": {"lrpc.ir"},
    "lrpc.codegen": {"lrpc.ir", "lrpc.plan"},
    "lrpc.backend": {"lrpc.bounded", "lrpc.codegen", "lrpc.ir"},
    "lrpc.targets": {"lrpc.ir"},
    "lrpc.directory": {"lrpc.backend", "lrpc.ir", "lrpc.swap"},
    "lrpc.show": {"lrpc.ir", "lrpc.manifest_read"},
    "passes": {"lrpc.ir", "lrpc.plan", "lrpc.rules"},
    # Programs are used as they are, no compiler behind them; their results are those of kernels.
    "lrpc.run": {"lrpc.codegen", "lrpc.manifest_read", "lrpc.models", "lrpc.swap"},
    "lrpc.manifest": {"lrpc.codegen", "lrpc.ir", "lrpc.targets"},
    "lrpc.manifest_read": {
        "lrpc.codegen",
        "lrpc.config",
        "lrpc.targets",
    },  # the kernel that checks data
    "lrpc.marks": {"lrpc.ir", "lrpc.targets", "passes"},
    "lrpc.memory": {"lrpc.backend", "lrpc.codegen", "lrpc.ir", "lrpc.plan"},
    "lrpc.joining": {"lrpc.ir", "lrpc.manifest", "lrpc.memory", "passes"},
    "lrpc.build": {
        "lrpc.settings",
        *(
            "lrpc.marks",
            "lrpc.ir",
            "lrpc.rules",
            "lrpc.backend",
            "lrpc.codegen",
            "lrpc.memory",
            "lrpc.targets",
            "lrpc.weights",
        ),
        *("lrpc.joining", "lrpc.manifest", "lrpc.mixed", "lrpc.model_check", "lrpc.precision"),
        *("passes",),
    },
    "lrpc.first_difference": {"lrpc.frontend", "lrpc.ir"},
    "lrpc.model_check": {
        *("lrpc.first_difference", "lrpc.frontend", "lrpc.ir", "lrpc.tolerance", "lrpc.twin"),
    },
    "lrpc.mixed": {"lrpc.ir", "lrpc.manifest", "passes"},
    "lrpc.tf32": set(),
    "lrpc.precision_table": set(),
    "lrpc.twin": {"lrpc.ir", "lrpc.manifest"},
    "lrpc.precision": {
        *("lrpc.backend", "lrpc.codegen", "lrpc.manifest", "lrpc.targets", "lrpc.tf32"),
        *("lrpc.twin", "lrpc.probe"),
    },
    "lrpc.probe": {"lrpc.ir", "passes"},
    "lrpc.settings": {"lrpc.targets"},
    "lrpc.configured": {
        *("lrpc.config", "lrpc.ir", "lrpc.marks", "lrpc.models", "lrpc.rules", "lrpc.targets"),
        *("passes",),
    },
    "lrpc.compiler": {
        *("lrpc.configured", "lrpc.settings"),
        *("lrpc.build", "lrpc.config", "lrpc.frontend", "lrpc.ir", "lrpc.models", "lrpc.rules"),
        *("lrpc.directory", "lrpc.manifest", "lrpc.manifest_read", "lrpc.marks", "lrpc.mixed"),
        *("lrpc.model_check", "lrpc.run", "lrpc.targets", "lrpc.weights", "passes"),
    },
    "lrpc.planview": {
        "lrpc.settings",
        *("lrpc.build", "lrpc.codegen", "lrpc.ir", "lrpc.joining", "lrpc.manifest"),
        *("lrpc.manifest_read",),
        *("lrpc.memory", "lrpc.mixed", "lrpc.plan", "lrpc.rules", "lrpc.run", "lrpc.weights"),
    },
    "lrpc.tolerance": set(),
    "lrpc.verify": {
        *("lrpc.ir", "lrpc.mixed", "lrpc.probe", "lrpc.rules", "lrpc.run", "lrpc.targets"),
        *("lrpc.manifest_read", "lrpc.tolerance", "lrpc.weights", "passes"),
    },
    "lrpc.analyze": {
        "lrpc.manifest_read",
        *("lrpc.compiler", "lrpc.config", "lrpc.ir", "lrpc.models", "lrpc.run", "lrpc.targets"),
    },
    "lrpc.evaluate": {
        "lrpc.configured",
        *("lrpc.codegen", "lrpc.compiler", "lrpc.config", "lrpc.models", "lrpc.rules"),
        *("lrpc.run", "lrpc.weights"),
    },
    "lrpc.bench": {
        "lrpc.manifest_read",
        *("lrpc.codegen", "lrpc.compiler", "lrpc.config", "lrpc.ir", "lrpc.memory", "lrpc.models"),
        *("lrpc.planview", "lrpc.rules", "lrpc.run", "lrpc.weights"),
    },
    "lrpc.explained_layers": set(),
    "lrpc.explainer": {"lrpc.compiler", "lrpc.explained_layers", "lrpc.frontend", "lrpc.rules"},
    "lrpc.cli": {"lrpc.codegen", "lrpc.commands"},
    "lrpc.commands": {
        *("lrpc.analyze", "lrpc.catalogue", "lrpc.compiler", "lrpc.config", "lrpc.evaluate"),
        *("lrpc.planview", "lrpc.precision_table", "lrpc.rules", "lrpc.run", "lrpc.verify"),
        "lrpc.bench",
    },
    "lrpc": {"lrpc.compiler", "lrpc.explainer", "lrpc.rules", "lrpc.run"},  # on demand
}

#: What everything may use.
BELOW = (
    *("lrpc.errors", "lrpc.files", "lrpc.stopping", "lrpc.visible", "lrpc.terminal"),
    "lrpc.__version__",
)

#: Longer than the habit allows, and why.
LONG_FILES = {
    "lrpc/codegen/kernels/runtime.py": 310,  # what a program's user calls, in one place
    "lrpc/compiler.py": 330,  # the one place where all stages meet; most of it is small steps
}
LONG_FUNCTIONS = {
    "lrpc/compiler.py:compile": 90,  # most of it lists the options and says what they are
    "lrpc/compiler.py:compile_config": 75,  # the stages in order; half of it lists facts
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
    for path in sorted((ROOT / "lrpc" / "codegen" / "kernels").glob("*.py")):
        for line, module in imports(path):
            top = module.split(".")[0]
            fine = top in ("torch", *sys.stdlib_module_names)
            own = module.startswith("lrpc.codegen.kernels.")
            assert fine or own or top == "triton", f"{path.name}:{line}: {module}"


def test_nothing_is_imported_from_tests() -> None:
    for path in SOURCES:
        # The tools that write the tests' own files, and the page on what the tests hold.
        keeper = path.name in ("update_golden.py", "make_coverage.py", "make_operations.py")
        assert keeper or all(part_of(module) != "tests" for _, module in imports(path)), path


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text, name = path.read_text(), str(path.relative_to(ROOT))
    assert len(text.splitlines()) <= LONG_FILES.get(name, 300), name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONG_FUNCTIONS.get(f"{name}:{node.name}", 60), f"{name}:{node.name}"
