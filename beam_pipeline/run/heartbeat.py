"""Renews a run's lease on its output while the run lives, with its counts for `status`."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping

from transforms.media.ffmpeg_process import kill_decoders
from transforms.work.exit_code import ExitCode
from transforms.work.lease import HEARTBEAT_S, Lease, OccupiedError

log = logging.getLogger(__name__)


@contextlib.contextmanager
def heartbeat(lease: Lease, counts: Callable[[], Mapping[str, float]]) -> Iterator[None]:
    """Renew the lease every HEARTBEAT_S while the block runs; release it at the end unless a remote job goes on."""
    stop = threading.Event()
    thread = threading.Thread(target=_renew_until, args=(lease, counts, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if not lease.record.get("left"):
            lease.release()


def _renew_until(lease: Lease, counts: Callable[[], Mapping[str, float]], stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_S):
        try:
            lease.renew(counts=dict(counts()))
        except OSError as error:
            # the store is away for a moment; what the steps need of it they try again
            log.debug("no sign of life could be given: %s", error)
        except OccupiedError as error:
            log.error("stopped: %s", error)
            kill_decoders()
            os._exit(ExitCode.FAILED)
