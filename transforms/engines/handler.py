"""Runs any engine in Beam's RunInference: one result per window, in order, also when a batch fails.

An engine is a `LoadedModel` and a `SpeechHandler` that loads it. This module imports Beam's inference package, which
imports torch where it is installed: only the steps that run a model may import it.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from transforms.engines.catalog import ModelError
from transforms.engines.protocol import Engine, LoadedModel
from transforms.engines.verdict import USUAL, Thresholds, judge
from transforms.records import SpeechWindow, WindowResult, WindowTranscription
from transforms.storage.secrets import redacted

BROKEN = ("CUDA error", "CUDA failed")  # torch's words, and CTranslate2's
HOPELESS = 50  # windows, all of which failed

_models: dict[Hashable, LoadedModel] = {}
_loading = threading.Lock()


class SpeechHandler(ModelHandler[SpeechWindow, WindowResult, LoadedModel]):
    """Runs a LoadedModel in Beam's RunInference on batches made upstream.

    `run_inference` returns exactly one result per window, in order. When a batch fails it is halved until the windows
    that cannot be done stand alone; those carry the error, the others are unharmed, each with the verdict on it.
    """

    _room = sys.maxsize  # windows that fit the device, as far as is known
    _worked, _failed = False, 0

    def __init__(self, engine: Engine, thresholds: Thresholds = USUAL) -> None:
        super().__init__()
        self.engine, self._thresholds = engine, thresholds

    def load_model(self) -> LoadedModel:
        """The model, loaded once a process.

        Beam's own sharing keeps only the model that was used last alive; here a process keeps what it loaded.
        """
        with _loading:
            if self.engine.key() not in _models:
                _models[self.engine.key()] = self.engine.load()
            return _models[self.engine.key()]

    def run_inference(
        self, batch: Sequence[SpeechWindow], model: LoadedModel, inference_args: dict[str, Any] | None = None
    ) -> Iterable[WindowResult]:
        heard = self.hear([window for window in batch if window.pcm], model)
        self._give_up_on_a_hopeless_model(heard)
        results = iter(heard)
        return [
            WindowResult(window._replace(pcm=b""), window.duration_s, next(results) if window.pcm else None)
            for window in batch
        ]

    def hear(self, windows: Sequence[SpeechWindow], model: LoadedModel) -> list[WindowTranscription]:
        """One result per window, in order; an error where even a window alone fails.

        Raises:
            ModelError: the device is broken, and with it every window to come.
        """
        if len(windows) > self._room:
            return self.hear(windows[: self._room], model) + self.hear(windows[self._room :], model)
        if not windows:
            return []
        try:
            heard = _checked(model.transcribe(windows), windows)
            return [
                each._replace(verdict=judge(window, each, self._thresholds))
                for window, each in zip(windows, heard, strict=True)
            ]
        except Exception as error:
            failure, out_of_memory = redacted(f"{type(error).__name__}: {error}"), is_out_of_memory(error)
            if is_broken_device(error):
                raise ModelError(f"the device fails, start the run again: {failure}") from error
        # Behind the except block: until there, the error's traceback holds on to the batch's tensors.
        if out_of_memory:
            Metrics.counter("transcribe", "out_of_memory").inc()
            model.release_memory()
            self._room = max(1, len(windows) // 2)
        if len(windows) == 1:
            media = windows[0].chunk.media
            logging.getLogger(__name__).warning("%s: window %d failed: %s", media.id, windows[0].number, failure)
            return [WindowTranscription(texts={}, error=failure)]
        half = len(windows) // 2
        return self.hear(windows[:half], model) + self.hear(windows[half:], model)

    def _give_up_on_a_hopeless_model(self, heard: list[WindowTranscription]) -> None:
        """Fail the run when nothing has ever worked: a setting is wrong, and not fifty media."""
        failed = [each.error for each in heard if each.error]
        self._worked = self._worked or len(failed) < len(heard)
        self._failed += len(failed)
        if not self._worked and self._failed >= HOPELESS:
            raise ModelError(f"the model failed on each of the first {self._failed} windows: {failed[-1]}")

    def get_num_bytes(self, batch: Sequence[SpeechWindow]) -> int:
        return sum(len(window.pcm) for window in batch)  # Beam's default pickles every batch to know

    def get_metrics_namespace(self) -> str:
        return "transcribe"


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device had no memory left: torch's error of any device, known by name to need no torch here."""
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error).lower()


def is_broken_device(error: Exception) -> bool:
    """Whether no later call can work either: an illegal access or a failed assertion stays with the process."""
    if is_out_of_memory(error):
        return False
    return type(error).__name__ == "AcceleratorError" or any(sign in str(error) for sign in BROKEN)


def _checked(results: list[WindowTranscription], windows: Sequence[SpeechWindow]) -> list[WindowTranscription]:
    if len(results) != len(windows):
        raise RuntimeError(f"the model returned {len(results)} results for {len(windows)} windows")
    return [_measured(each) for each in results]


def _measured(heard: WindowTranscription) -> WindowTranscription:
    """What was heard, with nothing in place of a figure that is no number: JSON has no NaN, and no mean survives it.

    Raises:
        RuntimeError: a time is none.
    """
    times = (time for found in heard.texts.values() for segment in found for time in (segment.start, segment.end))
    if not all(map(math.isfinite, times)):
        raise RuntimeError("the model gave a time that is no number")
    nothing: dict[str, Any] = {"avg_logprob": None, "no_speech_prob": None, "language_probability": 0.0}
    figures = {name: getattr(heard, name) for name in nothing}
    lost = [name for name, value in figures.items() if value is not None and not math.isfinite(value)]
    return heard._replace(unmeasured=True, **{name: nothing[name] for name in lost}) if lost else heard
