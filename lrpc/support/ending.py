"""How commands end: their exit codes, and one line on standard error where they cannot go on."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

from lrpc.errors import LrpcError, ProgramError
from lrpc.support.escaping import visible_lines
from lrpc.support.files import reason, shown
from lrpc.support.log import SAID, said
from lrpc.support.signals import Stopped, stoppable
from lrpc.support.terminal import Terminal, say

_WIDTH = 120  # of tables in a log


def ended(
    work: Callable[[], int], name: str = "error", debug: Callable[[], bool] = lambda: False
) -> int:
    """Do `work`; its exit code, or 2 for an error, of which a line tells after `name`.

    After SIGINT and SIGTERM it is 130 and 143, where nobody reads the output any more 141. With
    `debug`, errors are raised.
    """
    errors = Terminal(stderr=True, soft_wrap=True)
    try:
        with stoppable(), _flushed():
            return work()
    except LrpcError as error:
        if debug():
            raise
        _tell(errors, f"{name}: {error}")
        return 2
    except Stopped as stop:
        _tell(errors, f"stopped by {stop}")
        return stop.code
    except BrokenPipeError:  # the reader, a pager or `head`, has had enough
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # of a file that no command has words of its own for
        if debug():
            raise
        where = "" if error.filename is None else f"{shown(os.fsdecode(error.filename))}: "
        _tell(errors, f"{name}: {where}{reason(error)}")
        return 2


class Output(Terminal):
    """Standard output, whose errors say so; a closed pipe is left to `ended`."""

    logs = True

    def print(self, *objects: Any, **options: Any) -> None:
        keep(objects, options)
        with of_output():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Arguments(argparse.ArgumentParser):
    """A command line whose help and errors obey no name, and say where they cannot be written."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is None or file is not sys.stdout:
            super()._print_message(visible_lines(message), file)
            return
        with of_output():
            file.write(visible_lines(message))


def keep(objects: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Put what is printed into the log's file, as plain text."""
    if SAID.isEnabledFor(logging.INFO):
        plain = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        with plain.capture() as captured:
            plain.print(*objects, **options)
        said(captured.get(), options.get("style") or "")


@contextmanager
def of_output() -> Iterator[None]:
    """What the system says of standard output, as a ProgramError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ProgramError(f"standard output: {reason(error)}") from error


@contextmanager
def _flushed() -> Iterator[None]:
    """Write out what was printed while errors can still be told; a full disk is one."""
    try:
        yield
    finally:
        if sys.stdout is not None:
            try:
                with of_output():
                    sys.stdout.flush()
            except (OSError, ProgramError):
                _discard_output()
                raise


def _discard_output() -> None:
    """Let what is still to be printed go nowhere, so that Python does not stumble over it."""
    with suppress(OSError, ValueError, AttributeError):  # a stand-in of tests has no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _tell(errors: Console, text: str) -> None:
    with suppress(OSError):  # standard error is full or closed: there is nowhere to say it
        say(errors, text, "red")
