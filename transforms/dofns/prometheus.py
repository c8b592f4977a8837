"""Figures of the steps as Prometheus reads them: text at `http://<host>:<port>/metrics`.

A local run serves what its display received. Elsewhere each worker process serves its own, and Prometheus adds up.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import prometheus_client
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from transforms.dofns.figures import FIGURES

PREFIX = "beam_pipeline_"
# tried by the worker processes of one machine, as Flink's own reporter does
PORTS = 10

log = logging.getLogger(__name__)


class StepFigures(Collector):
    """Gives every figure of every step, also those that nothing was added to yet: a rate needs their zero."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = dict(self._counts())
        for name, (help_text, steps) in FIGURES.items():
            seconds = name.endswith("_ms")  # Beam counts whole numbers, Prometheus has seconds
            family = CounterMetricFamily(PREFIX + prometheus_name(name), help_text, labels=["step"])
            for step in steps:
                value = counts.get(f"{step}.{name}", 0)
                family.add_metric([step], value / 1000 if seconds else value)
            yield family


def prometheus_name(figure: str) -> str:
    """The figure's name for Prometheus, which puts `_total` behind it."""
    return figure.removesuffix("_ms") + "_seconds" if figure.endswith("_ms") else figure


def serve(counts: Callable[[], Mapping[str, int]], port: int) -> Callable[[], None]:
    """Serve the figures on the port of all this machine's addresses, until the returned function is called.

    Raises:
        OSError: the port is taken, or not for us to take.
    """
    registry = prometheus_client.CollectorRegistry()
    registry.register(StepFigures(counts))
    prometheus_client.ProcessCollector(registry=registry)  # start, memory and CPU time of the process
    server, _ = prometheus_client.start_http_server(port, registry=registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


_own: Counter[str] = Counter()
_adding = threading.Lock()
_served = False


def of_this_process(port: int) -> Callable[[Mapping[str, int]], None]:
    """What adds to the figures of this process. They are served, once, on the first free port from this one on."""
    global _served
    with _adding:
        if not _served:
            _serve_own(port)
            _served = True
    return _add


def _add(added: Mapping[str, int]) -> None:
    with _adding:
        _own.update(added)


def _serve_own(first: int) -> None:
    for port in range(first, first + PORTS):
        try:
            serve(_own.copy, port)
        except OSError:
            continue  # another worker's
        log.info("figures at port %d", port)
        return
    log.warning("no port from %d to %d is free: this worker's figures are not served", first, first + PORTS - 1)
