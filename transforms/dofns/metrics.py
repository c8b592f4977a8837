"""Metrics of the steps, sent to Beam and at once to whoever watches the run.

Beam's own counters reach a runner when a bundle ends, and the step's bundle is often the whole of its input. So the
same figures go, as they happen, to a display on the same machine, or to an endpoint of the worker process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping

from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import Counter

from transforms.dofns.figures import FIGURES, STEPS
from transforms.records import from_plain
from transforms.storage.secrets import guard_logs
from transforms.work.store import from_json


@dataclasses.dataclass(frozen=True)
class Watch:
    """Who is told of the figures at once, besides Beam."""

    # host:port of a display on the same machine, which takes datagrams
    display: str = ""
    # where each worker process serves its figures to Prometheus: this one or the first free behind it
    port: int = 0


UNWATCHED = Watch()


class StepMetrics:
    """Counts the figures of one step.

    Made where the step runs, and used by Beam's own threads alone: what others add to a counter of Beam's is lost.
    """

    def __init__(self, step: str, watch: Watch) -> None:
        guard_logs()  # of a worker, where nothing else of ours begins
        self._step, self._listeners = step, list(_listeners(watch))
        self._counters: dict[str, Counter] = {}
        # not counted yet: a thousand times a third of a millisecond is not nothing
        self._spent_ms = 0.0

    def count(self, **figures: int) -> None:
        """Add to the named figures of the step."""
        added = {name: int(by) for name, by in figures.items() if by}
        for name, by in added.items():
            if name not in self._counters:
                self._counters[name] = Metrics.counter(self._step, name)
            self._counters[name].inc(by)
        if added:
            told = {f"{self._step}.{name}": by for name, by in added.items()}
            for tell in self._listeners:
                tell(told)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time that the block takes as work."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.worked(time.monotonic() - started)

    def worked(self, seconds: float) -> None:
        """Count so much time as work."""
        self._spent_ms += seconds * 1000
        whole = int(self._spent_ms)
        self._spent_ms -= whole
        self.count(work_ms=whole)


def _listeners(watch: Watch) -> Iterator[Callable[[Mapping[str, int]], None]]:
    if watch.display:
        yield Datagrams(watch.display).send
    if watch.port:
        from transforms.dofns import prometheus

        yield prometheus.of_this_process(watch.port)


class Datagrams:
    """Sends counts to a display on the same machine. A datagram that is lost is no error."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._to = (host, int(port))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(self, added: Mapping[str, int]) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendto(json.dumps(added).encode(), self._to)


def counted(datagram: bytes) -> dict[str, int]:
    """The figures that a datagram adds, nothing where it is none of ours: every program here can send one."""
    try:
        added = from_plain(dict[str, int], from_json(datagram))
    except ValueError:
        return {}
    return {name: by for name, by in added.items() if _is_figure(name) and by > 0}


def _is_figure(name: str) -> bool:
    step, _, figure = name.partition(".")
    return step in STEPS and figure in FIGURES
