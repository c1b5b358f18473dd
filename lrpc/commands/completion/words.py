"""What a shell can complete: every command with its options, and what their values are."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option under all its names. `values` are the words that its value may be, `files` whether
    it names a file; `least` and `most` say how many values follow it, the latter -1 where any."""

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    values: tuple[str, ...] = ()
    files: bool = False
    least: int = 0
    most: int = 0
    repeatable: bool = False


@dataclass(frozen=True)
class CommandWords:
    """A command, its options, and what may stand where no option does."""

    name: str
    help: str
    options: tuple[Option, ...]
    values: tuple[str, ...] = ()
    files: bool = False
    takes: tuple[Option, ...] = field(default=(), repr=False)  # positional arguments, in order


def words_of(
    parser: argparse.ArgumentParser, name: str, told: str, known: Mapping[str, Sequence[str]]
) -> CommandWords:
    """What a parser takes; `known` are words for the values of arguments by their `dest`."""
    options: list[Option] = []
    takes: list[Option] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        one = _option(action, known)
        (options if action.option_strings else takes).append(one)
    values = dict.fromkeys(word for one in takes for word in one.values)
    return CommandWords(
        name, told, tuple(options), tuple(values), any(one.files for one in takes), tuple(takes)
    )


def _option(action: argparse.Action, known: Mapping[str, Sequence[str]]) -> Option:
    least, most = {None: (1, 1), "?": (0, 1), "*": (0, -1), "+": (1, -1)}.get(
        action.nargs if not isinstance(action.nargs, int) else "", (action.nargs, action.nargs)
    )
    choices: Iterable[Any] = action.choices or known.get(action.dest, ())
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return Option(
        tuple(action.option_strings),
        (action.help or "").replace("%%", "%"),
        metavar,
        tuple(str(word) for word in choices),
        action.type is Path,
        int(least or 0),
        int(most or 0),
        isinstance(action, argparse._AppendAction),
    )
