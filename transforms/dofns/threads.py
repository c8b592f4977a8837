"""Work side by side: a store, or a server, answers many requests at once far sooner than one after the other."""

from __future__ import annotations

import collections
import concurrent.futures
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

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


class InFlight(Generic[Out]):
    """Work of a bundle in threads of its own; what is done is taken back in the bundle's thread, in any order.

    Beam's counters do not reach a thread of ours, so results are counted where they are taken.
    """

    def __init__(self, threads: int) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)
        self._most = 2 * threads
        self._flying: set[concurrent.futures.Future[tuple[Out, float]]] = set()
        self._spent_ms = 0.0

    def begin(self, work: Callable[..., Out], *arguments: Any) -> None:
        self._flying.add(self._pool.submit(_timed, work, *arguments))

    def landed(self) -> list[Out]:
        """What is done by now; waits where too much is under way. Raises what a work raised."""
        if len(self._flying) >= self._most:
            concurrent.futures.wait(self._flying, return_when=concurrent.futures.FIRST_COMPLETED)
        landed = {future for future in self._flying if future.done()}
        self._flying -= landed
        return [self._taken(future) for future in landed]

    def rest(self) -> Iterator[Out]:
        """Everything that is still under way, as it is done."""
        for future in concurrent.futures.as_completed(self._flying):
            yield self._taken(future)

    def spent_ms(self) -> int:
        """Milliseconds that the threads worked for what was taken back since this was last asked."""
        whole = int(self._spent_ms)
        self._spent_ms -= whole
        return whole

    def _taken(self, future: concurrent.futures.Future[tuple[Out, float]]) -> Out:
        result, seconds = future.result()
        self._spent_ms += seconds * 1000
        return result

    def forget(self) -> None:
        """Begin a new bundle: what a failed one left behind counts no more."""
        self._flying = set()

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _timed(work: Callable[..., Out], *arguments: Any) -> tuple[Out, float]:
    started = time.monotonic()
    return work(*arguments), time.monotonic() - started
