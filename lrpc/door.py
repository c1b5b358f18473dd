"""`lrpc.load`: a program that explains images in one call."""

from __future__ import annotations

from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol, cast

from lrpc.commands.jobs.explain import explain
from lrpc.program import loading
from lrpc.program.protocol import Program

if TYPE_CHECKING:
    from lrpc.results.memory import Explanations


class Explaining(Program, Protocol):
    """A loaded program, with `lrpc.explain` as a method."""

    def explain(self, given: Any, target: Any = "class_logit", **options: Any) -> Explanations:
        """What the program finds in images, explained: see `lrpc.explain`."""


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
