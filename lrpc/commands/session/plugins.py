"""The option that names modules with rules from outside."""

from __future__ import annotations

import argparse


def add_plugin_argument(command: argparse.ArgumentParser) -> None:
    """Add `--plugin` to a command that uses rules from outside."""
    command.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="PACKAGE.MODULE",
        help="a module that registers rules of its own, repeatable; those of a manifest are"
        " imported only where they are named here",
    )
