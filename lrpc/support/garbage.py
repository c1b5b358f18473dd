"""The search for garbage waits while much is made that stays."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_waiting = 0  # how many blocks are inside, of all threads
_was_on = False


@contextlib.contextmanager
def garbage_waits() -> Iterator[None]:
    """Inside, Python looks for no reference cycles: a compilation makes millions of objects that
    stay until its end, and each search goes through all of them."""
    global _waiting, _was_on
    with _LOCK:
        if _waiting == 0:
            _was_on = gc.isenabled()
            gc.disable()
        _waiting += 1
    try:
        yield
    finally:
        with _LOCK:
            _waiting -= 1
            if _waiting == 0 and _was_on:
                gc.enable()
