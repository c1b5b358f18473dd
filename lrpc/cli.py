"""The command line from outside."""

from __future__ import annotations

import argparse
import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from lrpc.runtime.pages import keep_freed_memory
from lrpc.support.arenas import one_arena
from lrpc.support.ending import Output, ended
from lrpc.support.log import ended_with, logged


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from lrpc.commands.parser import parser as whole

    return whole()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for a failed check or image, or as `ended` says."""
    debug = False
    words = sys.argv[1:] if argv is None else argv

    def work() -> int:
        nonlocal debug
        from lrpc.commands.parser import dispatch, parse  # seconds, in which a signal may come

        args = parse(argv)
        debug = args.debug
        log.enter_context(logged(args.log, args.verbose, words))
        return dispatch(args, Output())

    with ExitStack() as log:
        code = ended(work, debug=lambda: debug)
        ended_with(code)
    return code


def script() -> int:
    """`main` in a process that is there for it alone: it keeps the memory that tensors free, and
    ends without taking apart what it has made."""
    keep_freed_memory()
    one_arena()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be any bytes
    gc.disable()  # until all is imported
    codes: list[int] = []
    atexit.register(_leave, codes)  # the first that is registered is the last to run
    codes.append(main())
    return codes[0]


def _leave(codes: list[int]) -> None:
    """End the process with the code that `main` returned; where it did not, Python ends it."""
    if not codes:
        return
    with suppress(OSError, ValueError):  # Python tells of what cannot be written
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(codes[0])


if __name__ == "__main__":
    sys.exit(script())
