"""Where the C library takes memory from."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_ARENA_MAX = -8  # an option of glibc's mallopt(3)


def one_arena() -> None:
    """Have all threads of this process use the memory that any of them frees; only glibc has more
    than one place for it."""
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
