"""Keeps a run's claim on its output alive while the run lives, with how far it is for whoever asks."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

from transforms.media import ffmpeg
from transforms.owner import BEAT_S, OccupiedError, Owner

log = logging.getLogger(__name__)


class Alive:
    """Beats every few seconds while the block runs, and gives the output back at its end."""

    def __init__(self, owner: Owner, counts: Callable[[], Mapping[str, float]]) -> None:
        self._owner, self._counts = owner, counts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Alive:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(OSError, OccupiedError):
            self._owner.release()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                self._owner.beat(counts=dict(self._counts()))
            except OSError as error:  # the store is away for a moment; what the steps need of it they try again
                log.debug("no sign of life could be given: %s", error)
            except OccupiedError as error:
                log.error("stopped: %s", error)
                ffmpeg.kill_decoders()
                os._exit(1)
