"""SIGINT and SIGTERM end a command at a place where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The user, or a scheduler, wants this command to end. No Exception: nothing that treats an
    error as one image's failure may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def code(self) -> int:
        """The exit code that shells expect."""
        return 128 + self.number


class _Handler:
    """Raises Stopped where it may, else remembers that it should."""

    def __init__(self) -> None:
        self.held, self.asked = 0, 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, number
        if not self.held or again:
            raise Stopped(number)

    def release(self) -> None:
        self.held -= 1
        if self.asked and not self.held:
            raise Stopped(self.asked)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped in the block when a signal comes; a signal that is ignored stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    handler = _Handler()
    own = (signal.default_int_handler, signal.SIG_DFL)
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = {number: old for number, old in before.items() if old in own}
    for number in taken:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in taken.items():
            signal.signal(number, old)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put back the handlers that a library sets for itself in the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # None: not set from Python
                signal.signal(number, handler)


@contextmanager
def finishing() -> Iterator[None]:
    """What is begun in the block is ended before Stopped is raised; a second signal does not wait.

    Stopped is raised at the end too where the signal came before and other code swallowed it.
    """
    found = {signal.getsignal(number) for number in _SIGNALS}
    handlers = [one for one in found if isinstance(one, _Handler)]
    if threading.current_thread() is not threading.main_thread() or not handlers:
        yield
        return
    (handler,) = handlers
    handler.held += 1
    try:
        yield
    except BaseException:
        handler.held -= 1
        raise
    handler.release()
