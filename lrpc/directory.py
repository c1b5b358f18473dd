"""Writes program directories: whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from lrpc.errors import ProgramError
from lrpc.ir.graph import Module
from lrpc.ir.printer import print_graph


def write_files(output: Path, files: Mapping[str, bytes]) -> None:
    """Write a program directory whole or not at all; an older program in its place is replaced."""
    output = output.absolute()
    if output.exists() and not _replaceable(output):
        raise ProgramError(
            f"{output} exists and is not a program directory; choose another with -o"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        for name, data in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_bytes(data)
        partial.chmod(0o755)
        _put(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(complete: Path, output: Path) -> None:
    old = complete.with_name(complete.name + ".old")
    if output.exists():
        output.replace(old)
    try:
        complete.replace(output)
    except OSError:
        if old.exists():  # what was there before is better than nothing
            old.replace(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _replaceable(path: Path) -> bool:
    if not path.is_dir():
        return False
    names = {p.name for p in path.iterdir()}
    return not names or {"program.py", "manifest.json"} <= names


def dumping() -> tuple[Callable[[str, Module], None], dict[str, bytes]]:
    """A watcher that collects the graph after every pass as `passes/NN-name.lrp`, and its files."""
    files: dict[str, bytes] = {}

    def collect(name: str, module: Module) -> None:
        files[f"passes/{len(files):02d}-{name}.lrp"] = print_graph(module.graph).encode()

    return collect, files
