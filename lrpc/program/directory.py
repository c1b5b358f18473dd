"""Writes program directories: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from lrpc.backend.schedule.ir import Schedule
from lrpc.backend.schedule.printer import print_schedule
from lrpc.errors import ProgramError
from lrpc.ir.graph import Module
from lrpc.ir.printer import print_graph
from lrpc.support.files import refusals, shown
from lrpc.support.swap import real_directory, replace_directory


def write_files(output: Path, files: Mapping[str, bytes]) -> None:
    """Write a program directory whole or not at all; an older program in its place is replaced.

    Files in the old directory that lrpc did not write stay in it. A symbolic link stays one: what
    it points to is replaced. Raises ProgramError, also where another process writes it.
    """

    def build(folder: Path) -> None:
        for name, data in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)

    with refusals(output):
        real = real_directory(output)
        if os.path.lexists(real) and not _replaceable(real):
            raise ProgramError(
                f"{shown(output)} exists and is not a program directory; choose another with -o"
            )
        real.parent.mkdir(parents=True, exist_ok=True)
        replace_directory(real, build)


def _replaceable(path: Path) -> bool:
    if not path.is_dir():
        return False
    names = {p.name for p in path.iterdir()}
    return not names or {"program.py", "manifest.json"} <= names


def dumping() -> tuple[Callable[[str, Module | Schedule], None], dict[str, bytes]]:
    """A watcher that collects the graph after every pass as `passes/NN-name.lrp`, the schedule as
    `passes/NN-name.schedule`; and these files."""
    files: dict[str, bytes] = {}

    def collect(name: str, found: Module | Schedule) -> None:
        place = f"passes/{len(files):02d}-{name}"
        if isinstance(found, Schedule):
            files[f"{place}.schedule"] = print_schedule(found).encode()
        else:
            files[f"{place}.lrp"] = print_graph(found.graph).encode()

    return collect, files
