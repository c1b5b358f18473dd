"""Memory that stays with the process."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # options of glibc's mallopt(3)


def keep_freed_memory() -> bool:
    """Have this process keep the memory that CPU tensors free, for good; False where the C library
    is not glibc, and nothing is changed.

    Otherwise glibc takes tensors of more than 32 MB from the system each time anew, page by page.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # Everything comes from the heap, whose end is never given back.
    return bool(set_option(MMAP_MAX, 0) and set_option(TRIM_THRESHOLD, -1))
