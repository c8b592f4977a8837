"""Keeps a run's claim on its output alive while the run lives, with how far it is for whoever asks."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping

from transforms.media.ffmpeg_process import kill_decoders
from transforms.work.exit_code import ExitCode
from transforms.work.lease import BEAT_S, OccupiedError, Owner

log = logging.getLogger(__name__)


@contextlib.contextmanager
def alive(owner: Owner, counts: Callable[[], Mapping[str, float]]) -> Iterator[None]:
    """Beat every few seconds while the block runs, and give the output back at its end, unless a job goes on."""
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(owner, counts, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if not owner.record.get("left"):
            owner.release()


def _beat(owner: Owner, counts: Callable[[], Mapping[str, float]], stop: threading.Event) -> None:
    while not stop.wait(BEAT_S):
        try:
            owner.beat(counts=dict(counts()))
        except OSError as error:  # the store is away for a moment; what the steps need of it they try again
            log.debug("no sign of life could be given: %s", error)
        except OccupiedError as error:
            log.error("stopped: %s", error)
            kill_decoders()
            os._exit(ExitCode.FAILED)
