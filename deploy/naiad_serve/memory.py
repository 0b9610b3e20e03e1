"""Memory that is freed goes back to the system, not into reserve."""

from __future__ import annotations

import ctypes

# Of <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def give_back_freed(above: int = 2 * 1024 * 1024) -> None:
    """What is larger than `above` bytes goes back when it is freed, and what is smaller is kept
    in one place for all threads. For a process that holds large things for a short time; to be
    called before it has threads. Only glibc keeps so much that it needs to be told."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    # By itself glibc raises this bound to the largest block that was ever freed, up to 32 MiB,
    # and has eight places for each core.
    mallopt(_M_MMAP_THRESHOLD, above)
    mallopt(_M_ARENA_MAX, 1)
    # At the end of that place so much is kept, or each batch would be given fresh pages.
    mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)
