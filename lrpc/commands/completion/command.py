"""`lrpc completion`: its argument, and the script that it prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console

from lrpc.commands.completion import bash, fish, zsh
from lrpc.commands.completion.words import CommandWords, words_of
from lrpc.commands.parser import COMMANDS, CommandParser, parser
from lrpc.config.schema import DEFAULTS, flatten
from lrpc.config.target_kinds import KINDS
from lrpc.rules.composite import COMPOSITES
from lrpc.support.ending import of_output

SHELLS = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}


def main(args: argparse.Namespace, console: Console) -> int:
    """Print the script of a shell; the exit code is 0."""
    text = SHELLS[args.shell](*everything())
    with of_output():
        sys.stdout.write(text)
    return 0


def everything() -> tuple[CommandWords, list[CommandWords]]:
    """What stands before a command, whose names it has as words, and every command."""
    top = parser()
    (action,) = (one for one in top._actions if isinstance(one, argparse._SubParsersAction))
    known = known_words()
    found = []
    for command in COMMANDS:
        own = action.choices[command.name]
        assert isinstance(own, CommandParser)
        own.declare()
        found.append(words_of(own, command.name, command.help, known))
    return words_of(top, "", "", {}), found


def known_words() -> Mapping[str, Sequence[str]]:
    """Words for values that a parser does not list, by the names of arguments."""
    keys = tuple(key for key, _ in flatten(DEFAULTS))
    return {
        "composite": tuple(COMPOSITES),
        "composites": tuple(COMPOSITES),
        "target": tuple(KINDS),
        "device": ("cpu", "cuda"),
        "overrides": keys,
    }
