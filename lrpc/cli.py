"""The command line from outside: how commands end, and what is said when they cannot go on."""

from __future__ import annotations

import argparse
import gc
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

from lrpc.errors import LrpcError, ProgramError
from lrpc.runtime.pages import keep_freed_memory
from lrpc.support.files import reason, shown
from lrpc.support.signals import Stopped, stoppable
from lrpc.support.terminal import Terminal


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from lrpc.commands.parser import parser as whole

    return whole()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 for a failed check or image, 2 for an error.

    After SIGINT and SIGTERM it is 130 and 143, where nobody reads the output any more 141.
    """
    console, errors = _Console(), Terminal(stderr=True, soft_wrap=True)
    debug = False
    try:
        with stoppable(), _flushed():
            from lrpc.commands.parser import dispatch  # seconds, in which a signal may come

            args = parser().parse_args(argv)
            debug = args.debug
            return dispatch(args, console)
    except LrpcError as error:
        if debug:
            raise
        _say(errors, f"error: {error}")
        return 2
    except Stopped as stop:
        _say(errors, f"stopped by {stop}")
        return stop.code
    except BrokenPipeError:  # the reader, a pager or `head`, has had enough
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # of a file that no command has words of its own for
        if debug:
            raise
        where = "" if error.filename is None else f"{shown(os.fsdecode(error.filename))}: "
        _say(errors, f"error: {where}{reason(error)}")
        return 2


class _Console(Terminal):
    """Standard output, whose errors say so; a closed pipe is left to `main`."""

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ProgramError(f"standard output: {reason(error)}") from error

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@contextmanager
def _flushed() -> Iterator[None]:
    """Write out what was printed while errors can still be told; a full disk is one."""
    try:
        yield
    finally:
        if sys.stdout is not None:
            try:
                sys.stdout.flush()
            except OSError as error:
                _discard_output()
                if isinstance(error, BrokenPipeError):
                    raise
                raise ProgramError(f"standard output: {reason(error)}") from error


def _discard_output() -> None:
    """Let what is still to be printed go nowhere, so that Python does not stumble over it."""
    with suppress(
        OSError, ValueError, AttributeError
    ):  # what stands in for it in tests has no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _say(errors: Console, text: str) -> None:
    with suppress(OSError):  # standard error is full or closed: there is nowhere to say it
        errors.print(text, style="red", markup=False, highlight=False)


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
