"""Requests side by side: a store answers many small ones at once far sooner than one after the other."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

REQUESTS_AT_ONCE = 16


def ahead(work: Callable[[In], Out], items: Iterable[In], threads: int = REQUESTS_AT_ONCE) -> Iterator[Out]:
    """The result for each item, in order, so many worked on at once and at most twice as many held.

    Raises:
        Exception: what `work` raised for an item, where that item's result would stand.
    """
    with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        flying: collections.deque[concurrent.futures.Future[Out]] = collections.deque()
        try:
            for item in items:
                flying.append(pool.submit(work, item))
                if len(flying) >= 2 * threads:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
