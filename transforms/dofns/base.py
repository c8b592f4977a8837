"""What every DoFn of a step is built on, and those with it that work on several elements at once."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from transforms.dofns.metrics import StepMetrics, Watch
from transforms.dofns.threads import BundleThreads
from transforms.work.store import WorkStore

Config = TypeVar("Config")
Result = TypeVar("Result")
Out = TypeVar("Out")


class StepDoFn(beam.DoFn):
    """Counts for its step, which the subclass names. Beam pickles it: what cannot be is made in `setup`."""

    step: str

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def setup(self) -> None:
        self._metrics = StepMetrics(self.step, self._watch)


class ThreadedDoFn(StepDoFn, abc.ABC, Generic[Config, Result, Out]):
    """Works on several elements at once; what they give goes on as it is ready, in any order.

    `process` begins an element's work in `_threads`, and yields what is completed. Only functions that count
    nothing, and use nothing of the DoFn that changes, may be begun there.

    Attributes:
        room: for results that have not gone on yet, behind which the threads wait; 0 for any number.
    """

    room = 0

    def __init__(self, work: WorkStore, config: Config, watch: Watch) -> None:
        super().__init__(watch)
        self._work, self._config = work, config

    @abc.abstractmethod
    def threads(self) -> int:
        """How many elements are worked on at once."""

    @abc.abstractmethod
    def counted(self, result: Result) -> Out:
        """What goes on for a result, and the result counted. Beam's own thread asks."""

    def setup(self) -> None:
        super().setup()
        self._threads = self._new_threads()

    def start_bundle(self) -> None:
        self._threads.stop()  # what a failed bundle left behind
        self._threads = self._new_threads()

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(GlobalWindows.windowed_value, map(self.counted, self._threads.until(0)))

    def teardown(self) -> None:
        self._threads.stop()

    def _completed(self) -> Iterator[Out]:
        """What is there by now; waits where too much is under way."""
        yield from map(self.counted, self._threads.completed())

    def _new_threads(self) -> BundleThreads[Result]:
        return BundleThreads(self.threads(), self.room, self._metrics.worked)
