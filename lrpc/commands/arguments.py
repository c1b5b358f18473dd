"""Arguments that several commands have."""

from __future__ import annotations

import argparse


def plugin_argument(command: argparse.ArgumentParser) -> None:
    """`--plugin`, repeatable: none of a manifest's is imported that is not named here."""
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="PACKAGE.MODULE",
        help="a module that registers rules of its own, repeatable; those of a manifest are"
        " imported only where they are named here",
    )


def count(text: str) -> int:
    """A number from 1, for argparse."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text)):
        raise argparse.ArgumentTypeError(f"expected a number from 1, not {text!r}")
    return int(text)
