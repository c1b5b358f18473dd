"""The argument of `lrpc completion`."""

from __future__ import annotations

import argparse

_HOW = """\
bash:  lrpc completion bash > ~/.local/share/bash-completion/completions/lrpc
zsh:   lrpc completion zsh > DIR/_lrpc      # a DIR of $fpath, before compinit
fish:  lrpc completion fish > ~/.config/fish/completions/lrpc.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `lrpc completion` to its parser."""
    parser.description = "Print the script by which a shell completes lrpc's commands and options."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HOW
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="whose script to print")
