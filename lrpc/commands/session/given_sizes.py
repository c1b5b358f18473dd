"""`--size NAME=N …`: sizes of inputs that vary, as they are given on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.errors import ConfigError
from lrpc.ir.extents import Size


def given_size(given: Sequence[str], known: Sequence[Size]) -> dict[str, int]:
    """Every size by name, those that are not given as in the example.

    Raises ConfigError for a name that no size has, and for what is no multiple of its step.
    """
    steps = {size.name: size.step for size in known}
    found = {size.name: size.example for size in known}
    for text in given:
        name, _, length = text.partition("=")
        if name not in steps:
            names = ", ".join(steps) or "none: the program is of one size"
            raise ConfigError(f"--size {text}: sizes that vary are {names}")
        step = steps[name]
        if not length.isdecimal() or not int(length) or int(length) % step:
            raise ConfigError(f"--size {text}: give {name}=N, N a multiple of {step}")
        found[name] = int(length)
    return found
