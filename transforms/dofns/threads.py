"""Work side by side: a store, or a server, answers many requests at once far sooner than one after the other."""

from __future__ import annotations

import collections
import concurrent.futures
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

REQUESTS_AT_ONCE = 16


def map_in_threads(work: Callable[[In], Out], items: Iterable[In], threads: int = REQUESTS_AT_ONCE) -> Iterator[Out]:
    """The result for each item, in order, so many worked on at once and at most twice as many held.

    Raises:
        Exception: what `work` raised for an item, where that item's result would stand.
    """
    with concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="map") as pool:
        under_way: collections.deque[concurrent.futures.Future[Out]] = collections.deque()
        try:
            for item in items:
                under_way.append(pool.submit(work, item))
                if len(under_way) >= 2 * threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class WorkEnd(NamedTuple):
    """The end of a work, behind all that it gave."""

    spent_s: float
    error: BaseException | None  # what it raised


class BundleThreads(Generic[Out]):
    """The works of one bundle, each in a thread; what they give is taken in the bundle's own thread, as it comes.

    Beam's counters do not reach a thread of ours, so results are counted where they are taken. All come through one
    queue, so that no work waits for an older one. The threads are daemons: a process may end while they wait.

    Args:
        threads: works at once; those that are begun beyond wait their turn.
        room: for results that were not taken yet, behind which the works wait; 0 for any number.
        worked: told, in the bundle's thread, how many seconds a work took.
    """

    def __init__(self, threads: int, room: int = 0, worked: Callable[[float], None] = lambda seconds: None) -> None:
        self._threads, self._turn, self._worked = threads, threading.Semaphore(threads), worked
        self._ready: queue.Queue[Out | WorkEnd] = queue.Queue(room)
        self._running = 0
        self._stop = threading.Event()

    def begin(self, work: Callable[..., Iterable[Out]], *arguments: Any) -> None:
        threading.Thread(target=self._run, args=(work, arguments), daemon=True).start()
        self._running += 1

    def completed(self) -> Iterator[Out]:
        """What is there by now; waits where twice as many works as threads are under way. Raises what one raised."""
        yield from self.until(2 * self._threads - 1)
        while not self._ready.empty():
            yield from self._next()

    def until(self, running: int) -> Iterator[Out]:
        """Results as they come, until no more than so many works are under way. Raises what one of them raised."""
        while self._running > running:
            yield from self._next()

    def stop(self) -> None:
        """Let go of the bundle: nothing is taken any more, and what has not begun never will."""
        self._stop.set()

    def stopped(self) -> bool:
        return self._stop.is_set()

    def _next(self) -> Iterator[Out]:
        result = self._ready.get()
        if not isinstance(result, WorkEnd):
            yield result
            return
        self._running -= 1
        self._worked(result.spent_s)
        if result.error:
            raise result.error

    def _run(self, work: Callable[..., Iterable[Out]], arguments: tuple[Any, ...]) -> None:
        with self._turn:
            started, error = time.monotonic(), None
            try:
                if not self.stopped():
                    all(map(self._put, work(*arguments)))  # until one finds the bundle stopped
            except BaseException as caught:  # noqa: BLE001 - it is raised in the bundle's thread
                error = caught
        self._put(WorkEnd(time.monotonic() - started, error))

    def _put(self, result: Out | WorkEnd) -> bool:
        """Put it as soon as there is room; False when the bundle was stopped instead."""
        while not self.stopped():
            try:
                self._ready.put(result, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False
