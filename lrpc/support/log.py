"""What a command does and says, line by line: in a file (`--log`), steps on the terminal (`-v`).

`lrpc` is a logger of Python's `logging`. It tells steps with their seconds and what became of each
image, at level INFO. What a command says anyway is at `lrpc.said`, for the file alone.
"""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

from lrpc.errors import ConfigError
from lrpc.support.escaping import visible
from lrpc.support.files import reason, shown

LOG = logging.getLogger("lrpc")
SAID = logging.getLogger("lrpc.said")
LOG.addHandler(logging.NullHandler())
SAID.propagate = False  # the terminal has it
SAID.addHandler(logging.NullHandler())
_PACKAGES = ("torch", "numpy", "pillow", "transformers", "ray")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Tell, when the block has ended without an error, how many seconds it took."""
    began = time.perf_counter()
    yield
    LOG.info("%s: %.2f s", what, time.perf_counter() - began)


def said(text: str, style: str = "") -> None:
    """Lines that a user has seen, for the log's file: red ones are errors, yellow ones warnings."""
    level = {"red": logging.ERROR, "yellow": logging.WARNING, "bold red": logging.WARNING}
    if SAID.isEnabledFor(logging.INFO):
        for line in text.splitlines():
            SAID.log(level.get(style, logging.INFO), "%s", line.rstrip())


@contextmanager
def logged(path: Path | None, verbose: bool, argv: Sequence[str]) -> Iterator[None]:
    """Have what happens in the block written to the end of `path`, and with `verbose` its steps to
    standard error. Raises ConfigError for a file that cannot be written.

    The file has the command, versions, warnings of Python and the traceback of an error that nobody
    expected. Each line is written at once, whole: nothing of it is lost with the process.
    """
    if path is None and not verbose:
        yield
        return
    with ExitStack() as stack:
        if verbose:
            stack.enter_context(_handling(_OnTerminal(), LOG))
        if path is not None:
            stack.enter_context(_handling(_InFile(path), LOG, SAID))
            stack.enter_context(_warnings())
        _begin(argv)
        try:
            yield
        except BaseException:
            SAID.critical("the command failed", exc_info=True)
            raise


def ended_with(code: int) -> None:
    """The last line of a command in its log."""
    SAID.info("ended with exit code %d", code)


def _begin(argv: Sequence[str]) -> None:
    SAID.info("command: %s", shlex.join(["lrpc", *argv]))
    with suppress(OSError):  # a folder that was removed
        SAID.info("folder: %s", Path.cwd())
    found = []
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    import lrpc

    python = f"lrpc {lrpc.__version__}, Python {platform.python_version()}"
    SAID.info("versions: %s on %s", ", ".join([python, *found]), platform.platform())


@contextmanager
def _handling(handler: logging.Handler, *loggers: logging.Logger) -> Iterator[None]:
    """The loggers with one handler more, and at level INFO."""
    before = [(one, one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.addHandler(handler)
        one.setLevel(logging.INFO)
        one.propagate = False
    try:
        yield
    finally:
        for one, level, propagate in before:
            one.removeHandler(handler)
            one.setLevel(level)
            one.propagate = propagate
        handler.close()


@contextmanager
def _warnings() -> Iterator[None]:
    """Warnings of Python are said as ever, and kept in the log."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        SAID.warning("%s: %s", category.__name__, message)
        before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


class _InFile(logging.Handler):
    """Lines at the end of a file, each written whole and at once; several processes may share it.

    Where the disk refuses later on, standard error says so once, and the command goes on.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._refused = False
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except (OSError, ValueError) as error:
            told = f"--log {shown(path)}: cannot be written ({reason(error)}); name another file"
            raise ConfigError(told) from error

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; control characters in it are escaped, so that it is the lines it is."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        head = f"{when}.{int(record.msecs):03d} {record.levelname:<8}"
        lines = [visible(record.getMessage())]
        if record.exc_info:
            told = logging.Formatter().formatException(record.exc_info)
            lines += [visible(line) for line in told.splitlines()]
        text = "".join(f"{head} {line}\n" for line in lines)
        try:
            left = text.encode("utf-8", "backslashreplace")
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            if not self._refused:
                self._refused = True
                _on_stderr(f"--log {shown(self.path)}: {reason(error)}; lines are missing in it")

    def close(self) -> None:
        os.close(self._file)
        super().close()


class _OnTerminal(logging.Handler):
    """Lines on standard error, above the bar where one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        _on_stderr(visible(record.getMessage()))


def _on_stderr(text: str) -> None:
    with suppress(OSError, ValueError):  # full or closed: there is nowhere to say it
        print(text.encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
