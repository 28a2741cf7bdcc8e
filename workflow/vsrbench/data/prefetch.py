"""Read ahead in background threads, in order.

Threads suffice: cropping is copying, which numpy does without holding the interpreter's lock.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(read: Callable[[int], T], keys: Iterable[int], workers: int) -> Iterator[T]:
    """`read(key)` for every key in order, up to two for each of `workers` threads in advance.

    Closing the iterator drops what is still ahead. What a reader raises is raised here.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    ahead: deque = deque()
    try:
        for key in keys:
            ahead.append(pool.submit(read, key))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
