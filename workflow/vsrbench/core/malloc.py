"""Settings of glibc's malloc."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # from malloc.h


def retain_freed_memory() -> None:
    """Let this process reuse freed memory, if the C library is glibc; otherwise do nothing.

    By default glibc returns large blocks to the system when they are freed and requests new ones, which the
    system zeroes page by page: up to a third of the time of a forward pass on whole frames.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
