"""What the C library does with memory that is freed."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def retain_freed_memory() -> None:
    """Have this process reuse what it frees, where the C library is glibc; elsewhere nothing changes.

    By default glibc hands large blocks back to the system when they are freed, and asks for new ones, which
    the system fills with zeros a page at a time: up to a third of the time of a pass over whole frames.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
