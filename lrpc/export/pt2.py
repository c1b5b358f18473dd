"""A program as a .pt2 package: torch.export, then AOTInductor."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from lrpc.errors import ProgramError
from lrpc.export.graph import Exported
from lrpc.export.traced import Traced
from lrpc.ir.types import Dim as Extent
from lrpc.support.files import reason

MOST = 1 << 16
"""The largest number of images, of seeds, and of steps of a size."""


def check_compiler() -> None:
    """ProgramError where there is no C++ compiler, which AOTInductor runs."""
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise ProgramError(
            "--to pt2 needs a C++ compiler and finds none; install g++, or name one in CXX"
        )


def traced_program(made: Exported, example: Sequence[Tensor]) -> ExportedProgram:
    """The graph by torch.export, its sizes symbolic; ProgramError where that is refused."""
    module, known = Traced(made.module).eval(), dict[str, Any]()
    steps = {size.name: size.step for size in made.module.graph.sizes}

    def symbol(dim: Extent) -> Any:
        name = str(dim)
        if name in ("B", "K"):
            return known.setdefault(name, Dim(name, min=1, max=MOST))
        if name in steps:
            return steps[name] * known.setdefault(name, Dim(f"steps_{name}", min=1, max=MOST))
        return Dim.STATIC

    shapes = tuple(tuple(map(symbol, value.type.shape)) for value in made.module.graph.inputs)
    with _quiet("torch.export"), torch.no_grad():
        return torch.export.export(module, tuple(example), dynamic_shapes=(shapes,), strict=False)


def write_package(program: ExportedProgram, path: Path, facts: Mapping[str, str]) -> None:
    """Compile and package; `path` ends in .pt2. ProgramError where AOTInductor refuses."""
    options = {"aot_inductor.metadata": dict(facts)}
    with _quiet("AOTInductor"):
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs=options
        )


def opened(path: Path) -> Callable[[Sequence[Tensor]], dict[str, Tensor]]:
    """The program in a package."""
    with _quiet("AOTInductor"):
        package = torch._inductor.aoti_load_package(str(path))

    def run(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        with _quiet("AOTInductor"):
            found: dict[str, Tensor] = package(*inputs)
        return found

    return run


class _quiet:
    """Turns what a part of torch raises into one line, and drops what it warns of itself."""

    def __init__(self, who: str) -> None:
        self.who, self.caught = who, warnings.catch_warnings()

    def __enter__(self) -> None:
        self.caught.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.caught.__exit__(None, None, None)
        if isinstance(error, Exception):
            raise ProgramError(f"{self.who} refuses this program: {reason(error)}") from error
