"""The texts that are kept in tests/golden, and how they are made."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path
from typing import Any

import lrpc
from lrpc.backend.render.program import KERNELS, RUNTIME
from lrpc.backend.sources import runtime_text
from tests.support.tiny import tiny

FOLDER = Path(__file__).parents[1] / "golden"
UPDATE = "python tools/update_golden.py"
LINES = 60  # of a difference that are shown
DIGITS = (
    "encoder_layers_forward",
    "epsilon_linear",
    "detach_sigma_layer_norm_2",
    "encoder_layers_relevance",
    "relevance_class_logit",
)


def tiny_program() -> Any:
    """The tiny transformer under attnlrp, with one place inside."""
    model, example = tiny()
    return lrpc.compile(model, (example,), read={"block": "norm2"})


def tiny_texts(directory: Path) -> dict[str, str]:
    """The tiny program without what every program carries, and its annotated graph."""
    return {
        "tiny_program.py": emitted((directory / "program.py").read_text()),
        "tiny.lrp": (directory / "graph.lrp").read_text(),
    }


def digits_texts(directory: Path) -> dict[str, str]:
    """Those functions of the digits program that a reader looks at first."""
    return {"digits_functions.py": functions((directory / "program.py").read_text(), DIGITS)}


def emitted(text: str) -> str:
    """A program without the runtime and the kernels."""
    head, tail = text.split(runtime_text() + "\n")
    return f"{head.partition(KERNELS)[0]}{RUNTIME}\n\n\n{_joined(tail.splitlines())}"


def functions(text: str, names: tuple[str, ...]) -> str:
    """The sources of some functions of a program, in the order of `names`."""
    lines = text.splitlines()
    found = {
        part.name: "\n".join(lines[part.lineno - 1 : part.end_lineno]) for part in _functions(text)
    }
    return "\n\n\n".join(found[name] for name in names) + "\n"


def _functions(text: str) -> list[ast.FunctionDef]:
    return [part for part in ast.parse(text).body if isinstance(part, ast.FunctionDef)]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n") + "\n"


def difference(name: str, text: str) -> str:
    """Empty where the kept text is `text`; else a bounded diff and the command that updates it."""
    path = FOLDER / name
    kept = path.read_text() if path.is_file() else ""
    if kept == text:
        return ""
    lines = list(
        difflib.unified_diff(
            kept.splitlines(), text.splitlines(), f"tests/golden/{name}", "now", lineterm="", n=2
        )
    )
    more = [f"… {len(lines) - LINES} more lines"] if len(lines) > LINES else []
    shown = "\n".join([*lines[:LINES], *more])
    return f"\n{shown}\n\nIf that is what you meant, run: {UPDATE}\n"
