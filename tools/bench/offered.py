"""Ways to compile and load a program, and which of them this version of lrpc offers."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.errors import ConfigError, LrpcError
from lrpc.program.loading import load_program


class NotOfferedError(LrpcError):
    """An option that this version of lrpc does not have."""


@dataclass(frozen=True)
class Configuration:
    """Options of `lrpc.compile`, and of the program's `load`."""

    name: str
    compiling: Mapping[str, Any] = field(default_factory=dict)
    loading: Mapping[str, Any] = field(default_factory=dict)


PRECISIONS = ("fp32", "tf32", "bf16")
#: What is measured by default. The first has no options at all.
CONFIGURATIONS = {
    "cpu": ("fp32", "fp32+compile"),
    "cuda": (
        *("fp32", "tf32", "tf32+capture", "tf32+compile", "tf32+compile+capture"),
        *("bf16", "bf16+compile", "bf16+compile+capture"),
    ),
}


def configuration(name: str) -> Configuration:
    """A configuration by name: a precision, then `+compile` and `+capture` as wanted."""
    precision, *more = name.split("+")
    if precision not in PRECISIONS or not {"compile", "capture"} >= set(more):
        raise ConfigError(
            f"--ways {name}: expected one of {', '.join(PRECISIONS)}, then +compile, +capture"
        )
    compiling = {} if precision == "fp32" else {"precision": precision}
    return Configuration(name, compiling, dict.fromkeys(more, True))


def check(function: Callable[..., Any], options: Mapping[str, Any], what: str) -> None:
    """Raise NotOfferedError where a function does not have one of these options."""
    known = inspect.signature(function).parameters
    lacking = [f"{name}={value!r}" for name, value in options.items() if name not in known]
    if lacking:
        raise NotOfferedError(f"{what} has no {', '.join(lacking)} in this version")


@dataclass
class Compiler:
    """Compiles one model, each set of options once, on an example input on the CPU. Programs are
    kept in `store`, where one is given, and taken from there."""

    model: nn.Module
    example: Tensor
    common: Mapping[str, Any] = field(default_factory=dict)
    store: Path | None = None
    _made: dict[str, Any] = field(default_factory=dict)

    def directory(self, composite: Any, options: Mapping[str, Any]) -> Path:
        """The program directory under a composite with options of `lrpc.compile`."""
        key = repr((composite, sorted(options.items())))
        stored = None if self.store is None else self.store / self._named(key)
        if stored is not None and stored.is_dir():
            return stored
        if key not in self._made:
            function = compile_function()
            check(function, options, "lrpc.compile")
            self._made[key] = function(
                self.model, (self.example,), composite=composite, **self.common, **options
            )
        return place(self._made[key]) if stored is None else Path(self._made[key].save(stored))

    def program(self, composite: Any, configuration: Configuration, device: str) -> Any:
        """The program in that configuration. Raises NotOfferedError, LrpcError."""
        return load(
            self.directory(composite, configuration.compiling), device, configuration.loading
        )

    def copy(self, composite: Any, directory: Path) -> None:
        """Keep the program without options in a directory of the user's."""
        load(self.directory(composite, {}), "cpu", {}).save(directory)

    def _named(self, key: str) -> str:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        asked = repr((key, sorted(self.common.items()), list(self.example.shape), count))
        kind = type(self.model).__name__.lower()
        return f"{kind}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"


def compile_function() -> Callable[..., Any]:
    """`lrpc.compile`. Raises NotOfferedError where a package that it needs is missing."""
    try:
        found: Callable[..., Any] = importlib.import_module("lrpc.compiler").compile
    except ModuleNotFoundError as error:
        raise NotOfferedError(
            f"not compiled before, and {error.name}, which lrpc.compile needs, is not installed"
        ) from None
    return found


def place(program: Any) -> Path:
    """The directory of what `lrpc.compile` gives; it goes with the object."""
    return Path(program.directory)


def load(directory: Path, device: str, options: Mapping[str, Any]) -> Any:
    """A program loaded with options of its own `load`."""
    return load_program(directory, device, **options)


def input_dtype(program: Any) -> torch.dtype:
    """What a program wants its first input to be."""
    name = str(next(iter(program.interface.inputs.values()))[0]).removeprefix("torch.")
    dtype: torch.dtype = getattr(torch, name)
    return dtype
