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
    "lrpc.support.files": set(),
    "lrpc.support.swap": set(),
    "lrpc.support.signals": set(),
    "lrpc.models.checkpoints": set(),
    "lrpc.support.escaping": set(),
    "lrpc.support.terminal": {"lrpc.support.escaping"},
    "lrpc.support.untrusted": set(),
    "lrpc.config": {"lrpc.support.untrusted"},
    "lrpc.ir": {"lrpc.support.untrusted"},
    "lrpc.plan": set(),  # plain lists in, plain lists out
    "lrpc.models.weights": {"lrpc.models.checkpoints"},
    "lrpc.models": {"lrpc.config", "lrpc.models.weights"},
    "lrpc.rules": {"lrpc.ir"},
    "lrpc.commands.rules": {"lrpc.rules"},
    "lrpc.frontend": {"lrpc.ir"},
    "lrpc.backend": {"lrpc.ir", "lrpc.plan"},
    "lrpc.backend": {"lrpc.support.untrusted", "lrpc.backend", "lrpc.ir"},
    "lrpc.program.targets": {"lrpc.ir"},
    "lrpc.program.directory": {"lrpc.backend", "lrpc.ir", "lrpc.support.swap"},
    "lrpc.commands.show": {"lrpc.ir", "lrpc.program.manifest_reader"},
    "passes": {"lrpc.ir", "lrpc.plan", "lrpc.rules"},
    # Programs are used as they are, no compiler behind them; their results are those of kernels.
    "lrpc.commands.run": {
        "lrpc.backend",
        "lrpc.program.manifest_reader",
        "lrpc.models",
        "lrpc.support.swap",
    },
    "lrpc.program.manifest": {"lrpc.backend", "lrpc.ir", "lrpc.program.targets"},
    "lrpc.program.manifest_reader": {
        "lrpc.backend",
        "lrpc.config",
        "lrpc.program.targets",
    },  # the kernel that checks data
    "lrpc.program.places": {"lrpc.ir", "lrpc.program.targets", "passes"},
    "lrpc.backend.memory": {"lrpc.backend", "lrpc.backend", "lrpc.ir", "lrpc.plan"},
    "lrpc.program.memory_model": {
        "lrpc.ir",
        "lrpc.program.manifest",
        "lrpc.backend.memory",
        "passes",
    },
    "lrpc.program.build": {
        "lrpc.program.settings",
        *(
            "lrpc.program.places",
            "lrpc.ir",
            "lrpc.rules",
            "lrpc.backend",
            "lrpc.backend",
            "lrpc.backend.memory",
            "lrpc.program.targets",
            "lrpc.models.weights",
        ),
        *(
            "lrpc.program.memory_model",
            "lrpc.program.manifest",
            "lrpc.program.mixed",
            "lrpc.program.model_check",
            "lrpc.program.precision",
        ),
        *("passes",),
    },
    "lrpc.program.first_difference": {"lrpc.frontend", "lrpc.ir"},
    "lrpc.program.model_check": {
        *(
            "lrpc.program.first_difference",
            "lrpc.frontend",
            "lrpc.ir",
            "lrpc.program.tolerance",
            "lrpc.program.reference",
        ),
    },
    "lrpc.program.mixed": {"lrpc.ir", "lrpc.program.manifest", "passes"},
    "lrpc.program.tf32": set(),
    "lrpc.program.precision_table": set(),
    "lrpc.program.reference": {"lrpc.ir", "lrpc.program.manifest"},
    "lrpc.program.precision": {
        *(
            "lrpc.backend",
            "lrpc.backend",
            "lrpc.program.manifest",
            "lrpc.program.targets",
            "lrpc.program.tf32",
        ),
        *("lrpc.program.reference", "lrpc.program.example_inputs"),
    },
    "lrpc.program.example_inputs": {"lrpc.ir", "passes"},
    "lrpc.program.settings": {"lrpc.program.targets"},
    "lrpc.program.configured": {
        *(
            "lrpc.config",
            "lrpc.ir",
            "lrpc.program.places",
            "lrpc.models",
            "lrpc.rules",
            "lrpc.program.targets",
        ),
        *("passes",),
    },
    "lrpc.compiler": {
        *("lrpc.program.configured", "lrpc.program.settings"),
        *(
            "lrpc.program.build",
            "lrpc.config",
            "lrpc.frontend",
            "lrpc.ir",
            "lrpc.models",
            "lrpc.rules",
        ),
        *(
            "lrpc.program.directory",
            "lrpc.program.manifest",
            "lrpc.program.manifest_reader",
            "lrpc.program.places",
            "lrpc.program.mixed",
        ),
        *(
            "lrpc.program.model_check",
            "lrpc.commands.run",
            "lrpc.program.targets",
            "lrpc.models.weights",
            "passes",
        ),
    },
    "lrpc.commands.plan": {
        "lrpc.program.settings",
        *(
            "lrpc.program.build",
            "lrpc.backend",
            "lrpc.ir",
            "lrpc.program.memory_model",
            "lrpc.program.manifest",
        ),
        *("lrpc.program.manifest_reader",),
        *(
            "lrpc.backend.memory",
            "lrpc.program.mixed",
            "lrpc.plan",
            "lrpc.rules",
            "lrpc.commands.run",
            "lrpc.models.weights",
        ),
    },
    "lrpc.program.tolerance": set(),
    "lrpc.program.verify": {
        *(
            "lrpc.ir",
            "lrpc.program.mixed",
            "lrpc.program.example_inputs",
            "lrpc.rules",
            "lrpc.commands.run",
            "lrpc.program.targets",
        ),
        *(
            "lrpc.program.manifest_reader",
            "lrpc.program.tolerance",
            "lrpc.models.weights",
            "passes",
        ),
    },
    "lrpc.commands.analyze": {
        "lrpc.program.manifest_reader",
        *(
            "lrpc.compiler",
            "lrpc.config",
            "lrpc.ir",
            "lrpc.models",
            "lrpc.commands.run",
            "lrpc.program.targets",
        ),
    },
    "lrpc.commands.evaluate": {
        "lrpc.program.configured",
        *("lrpc.backend", "lrpc.compiler", "lrpc.config", "lrpc.models", "lrpc.rules"),
        *("lrpc.commands.run", "lrpc.models.weights"),
    },
    "lrpc.commands.bench": {
        "lrpc.program.manifest_reader",
        *(
            "lrpc.backend",
            "lrpc.compiler",
            "lrpc.config",
            "lrpc.ir",
            "lrpc.backend.memory",
            "lrpc.models",
        ),
        *("lrpc.commands.plan", "lrpc.rules", "lrpc.commands.run", "lrpc.models.weights"),
    },
    "lrpc.frontend.called_layers": set(),
    "lrpc.explainer": {
        "lrpc.compiler",
        "lrpc.frontend.called_layers",
        "lrpc.frontend",
        "lrpc.rules",
    },
    "lrpc.cli": {"lrpc.backend", "lrpc.commands.parser"},
    "lrpc.commands.parser": {
        *(
            "lrpc.commands.analyze",
            "lrpc.commands.rules",
            "lrpc.compiler",
            "lrpc.config",
            "lrpc.commands.evaluate",
        ),
        *(
            "lrpc.commands.plan",
            "lrpc.program.precision_table",
            "lrpc.rules",
            "lrpc.commands.run",
            "lrpc.program.verify",
        ),
        "lrpc.commands.bench",
    },
    "lrpc": {"lrpc.compiler", "lrpc.explainer", "lrpc.rules", "lrpc.commands.run"},  # on demand
}

#: What everything may use.
BELOW = (
    *(
        "lrpc.errors",
        "lrpc.support.files",
        "lrpc.support.signals",
        "lrpc.support.escaping",
        "lrpc.support.terminal",
    ),
    "lrpc.__version__",
)

#: Longer than the habit allows, and why.
LONG_FILES = {
    "lrpc/runtime/program.py": 310,  # what a program's user calls, in one place
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
            own = module.startswith("lrpc.runtime.")
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
