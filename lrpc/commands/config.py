"""`lrpc config dump`: a config as it is compiled, with its defaults and overrides."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml
from rich.console import Console

from lrpc.commands.session import arguments
from lrpc.config import load_config


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc config` to its parser."""
    command.add_argument("what", choices=("dump",), help="print every key with its value, as YAML")
    command.add_argument("config", type=Path, metavar="FILE", help="detectron2-style YAML")
    arguments.overrides(command)


def main(args: argparse.Namespace, console: Console) -> int:
    """Print a config as YAML that compiles to the same program; the exit code is 0."""
    told = load_config(args.config, args.overrides).to_dict()
    text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, default_flow_style=None)
    console.out(text, end="", highlight=False)
    return 0
