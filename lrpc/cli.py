"""The command line from outside."""

from __future__ import annotations

import argparse
import gc
import io
import sys
from collections.abc import Sequence

from lrpc.runtime.pages import keep_freed_memory
from lrpc.support.ending import Output, ended


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from lrpc.commands.parser import parser as whole

    return whole()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for a failed check or image, or as `ended` says."""
    debug = False

    def work() -> int:
        nonlocal debug
        from lrpc.commands.parser import dispatch, parse  # seconds, in which a signal may come

        args = parse(argv)
        debug = args.debug
        return dispatch(args, Output())

    return ended(work, debug=lambda: debug)


def script() -> int:
    """`main` in a process that is there for it alone, and keeps the memory that tensors free."""
    keep_freed_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be any bytes
    gc.disable()  # until all is imported
    try:
        return main()
    finally:
        gc.unfreeze()  # what was imported goes as it does elsewhere


if __name__ == "__main__":
    sys.exit(script())
