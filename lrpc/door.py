"""`lrpc.load`: a program that explains images in one call."""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import Any, cast

from lrpc.commands.jobs.explain import explain
from lrpc.program import loading
from lrpc.runtime.program import Program


class Explaining(Program):
    """A loaded program as types see it, with `lrpc.explain` as a method."""

    explain = explain


def load(
    directory: str | Path,
    device: str = "cpu",
    *,
    compile: bool = False,
    capture: bool = False,
    keep_pages: bool = False,
) -> Explaining:
    """Load a program directory; as many programs as one likes live in one process.

    Its method `explain` is `lrpc.explain`.

    Args:
        directory: what `lrpc compile -o` or `Program.save` has written.
        device: `cpu`, `cuda` or `cuda:N`.
        compile: run it through `torch.compile`.
        capture: replay it as CUDA graphs.
        keep_pages: keep memory that CPU tensors free (glibc).

    Raises:
        ProgramError: a file is missing or not as it was compiled, or the device cannot be used.
    """
    options = {"compile": compile, "capture": capture, "keep_pages": keep_pages}
    program: Any = loading.load_program(Path(directory), device, **options)
    program.explain = MethodType(explain, program)
    return cast(Explaining, program)
