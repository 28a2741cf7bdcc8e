"""Prefetch items in background threads, in order.

Threads suffice: cropping is copying, for which numpy releases the global interpreter lock.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(read: Callable[[int], T], keys: Iterable[int], workers: int) -> Generator[T, None, None]:
    """Yield `read(key)` for every key in order, reading up to two items ahead for each of `workers` threads.

    Closing the generator discards items that were read ahead. Exceptions of `read` are raised here.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    ahead: deque[Future[T]] = deque()
    try:
        for key in keys:
            ahead.append(pool.submit(read, key))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
