"""One program loaded with other options: as it is, through torch.compile, as CUDA graphs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lrpc.commands.bench import rebuilt
from lrpc.commands.bench.timing import finish
from lrpc.errors import ConfigError, ProgramError
from lrpc.program.loading import load_program

OPTIONS = ("compile", "capture")


def loadings_of(text: str) -> tuple[str, ...]:
    """`compile,compile+capture` as options of `load`; ConfigError for anything else."""
    found = tuple(filter(None, text.split(",")))
    for name in found:
        if not set(OPTIONS) >= set(name.split("+")):
            raise ConfigError(f"--ways {name}: expected compile, capture or compile+capture")
    return found


@dataclass(frozen=True)
class Loaded:
    """A program loaded with options: how far its relevance is from the program's as it is, and how
    long its first forward pass and relevance took."""

    loading: str
    program: Any
    apart: float
    seconds: float


def loaded(
    directory: Path,
    device: str,
    loadings: Sequence[str],
    inputs: Mapping[str, Any],
    expected: Any,
    asked: tuple[str, Mapping[str, Any]],
) -> list[Loaded]:
    """The program of `directory` under each of the `loadings`. `expected` is its own relevance
    for what is `asked`: a target, and options of `relevance`.

    Raises ProgramError where one cannot be had here, or gives something else.
    """
    found = []
    target, options = asked
    for loading in loadings:
        program: Any = load_program(directory, device, **dict.fromkeys(loading.split("+"), True))
        limit = rebuilt.LIMITS.get(str(program.manifest.get("precision")), 1e-3)
        begin = time.perf_counter()
        made = program.relevance(program.forward(**inputs), target, **options)
        finish(device)
        taken = time.perf_counter() - begin
        worst = max(apart(made.inputs[name], wanted) for name, wanted in expected.inputs.items())
        if not worst <= limit:
            raise ProgramError(
                f"{target}: relevance of the program loaded with {loading} differs by {worst:.0e},"
                f" more than {limit:.0e}: not timed"
            )
        found.append(Loaded(loading, program, worst, taken))
    return found


def apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """|found − wanted| over |wanted|, of whole tensors (2-norms)."""
    size = float(wanted.double().norm())
    return float((found.double() - wanted.double()).norm()) / (size or 1.0)
