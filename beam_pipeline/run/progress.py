"""The progress of a local run: a live bar on a terminal, periodic lines in a log.

The steps send counts as datagrams, which works from threads and from other processes of this machine alike.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from beam_pipeline.terminal import on_terminal
from transforms.dofns import prometheus
from transforms.dofns.metrics import counted

LOG_EVERY_S = 30.0
REFRESH_S = 0.5


class Progress:
    """Listens for the steps' counts while the block runs, shows them, and serves them to Prometheus if asked to.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, metrics_port: int = 0, shown: bool = True) -> None:
        self._shown = shown  # steps on other machines are not heard here
        self.counts: Counter[str] = Counter()
        self._stop_serving = prometheus.serve(lambda: self.counts, metrics_port) if metrics_port else None
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(REFRESH_S)
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._above_the_bar: AbstractContextManager[None] = (
            logging_redirect_tqdm() if on_terminal() else nullcontext()
        )

    @property
    def address(self) -> str:
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Progress:
        self._above_the_bar.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):  # a full buffer: it ends with its next look
            self._socket.sendto(b"", self._socket.getsockname())  # behind all that has come
        self._thread.join()
        self._above_the_bar.__exit__(kind, error, trace)
        if self._stop_serving:
            self._stop_serving()
        self._socket.close()

    def line(self) -> str:
        """The state in words: media, audio, speed, failures, time left."""
        return f"{self._done()} of {self.counts['plan.media']} media, {self._figures()}{self._left()}"

    def _done(self) -> int:
        return self.counts["save.media"] + self.counts["save.dead"]

    def _figures(self) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-3)
        audio_s = self.counts["save.audio_ms"] / 1000
        figures = f"{audio_s / 3600:.2f} h audio, {audio_s / elapsed:.1f}x real time"
        figures += f", {self.counts['transcribe.windows']} windows"  # moves also while a long recording is under way
        failed = self.counts["save.dead"]
        return f"{figures}, {failed} failed" if failed else figures

    def _left(self) -> str:
        done, planned = self._done(), self.counts["plan.media"]
        if not 0 < done < planned:
            return ""
        seconds = (time.monotonic() - self._started) / done * (planned - done)
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"

    def _listen(self) -> None:
        bar, logged = self._bar(), time.monotonic()
        while True:
            self._receive()
            if bar is not None:
                bar.total, bar.n = self.counts["plan.media"] or None, self._done()
                bar.set_postfix_str(self._figures())
            elif self._shown and time.monotonic() - logged >= LOG_EVERY_S:
                logged = time.monotonic()
                logging.getLogger(__name__).info("%s", self.line())
            if self._stop.is_set():
                break
        if bar is not None:
            bar.close()

    def _receive(self) -> None:
        """Take what has arrived; wait a little where nothing has."""
        until = time.monotonic() + REFRESH_S
        while time.monotonic() < until:
            try:
                datagram = self._socket.recv(65_535)
            except TimeoutError:
                return
            if not datagram and self._stop.is_set():
                return
            self.counts.update(counted(datagram))

    def _bar(self) -> tqdm | None:
        if not (self._shown and on_terminal()):
            return None
        shape = "{n_fmt}/{total_fmt} media |{bar:24}| {elapsed}<{remaining} {postfix}"
        return tqdm(total=None, unit="media", bar_format=shape, dynamic_ncols=True)
