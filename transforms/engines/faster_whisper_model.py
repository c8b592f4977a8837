"""Whisper on CTranslate2: any checkpoint, on the CPU several times as fast as with torch, and without loading it."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from transforms.engines.catalog import ModelError
from transforms.engines.conversion import ctranslate2_folder
from transforms.engines.ctranslate2_file import WEIGHTS, generation_settings, read
from transforms.engines.decoding import Decoded, Detected, Row, TokenIds
from transforms.engines.faster_whisper_settings import FasterWhisperSettings
from transforms.engines.log_mel import log_mel
from transforms.engines.placement import Placement
from transforms.engines.window_model import WindowModel
from transforms.records import SpeechWindow
from transforms.storage.secrets import redacted

# Read while the library of its threads is loaded: those that wait sleep, for a container's quota or another process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import ctranslate2


class FasterWhisperModel(WindowModel):
    """A loaded checkpoint. As many calls at a time run on the device as there are workers; several threads may call.

    The encoder's states are float32[n_windows, n_states, d_model] in the machine's memory.
    """

    def __init__(self, settings: FasterWhisperSettings, placement: Placement, cpu_threads: int) -> None:
        started = time.monotonic()
        folder = ctranslate2_folder(settings.model, settings.revision or "main")
        self._workers = threading.BoundedSemaphore(settings.num_workers)
        try:
            weights = read(folder / WEIGHTS)
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            kind, _, number = placement.device.partition(":")
            where = {
                "device": kind,
                "device_index": int(number or 0),
                "compute_type": settings.compute_type,
                "intra_threads": cpu_threads,
                "inter_threads": settings.num_workers,
            }
            self._model = ctranslate2.models.Whisper(str(folder), **where)
            generation = generation_settings(folder)
            ids = TokenIds(generation, self._tokenizer.token_to_id)
            if ids.languages and not self._model.is_multilingual:
                raise ModelError("CTranslate2 takes it for English-only; give the checkpoint it was made from")
        except Exception as error:  # the tokenizer's and CTranslate2's own have no base of their own
            raise ModelError(f"cannot load the model {settings.model.name}: {redacted(error)}") from error
        self._mels, self._positions = weights.mels, weights.positions
        latest = generation.get("max_initial_timestamp_index")
        self._latest_start = weights.vocabulary_size - ids.first_timestamp - 1 if latest is None else latest
        super().__init__(ids, settings.language, settings.languages, settings.thresholds)
        logging.getLogger(__name__).info(
            "loaded %s on %s in %s, %d threads, in %.1f s",
            settings.model.name, placement.device, self._model.compute_type, cpu_threads, time.monotonic() - started,
        )  # fmt: skip

    def release_memory(self) -> None:
        """CTranslate2 frees what a call took by itself."""

    def _turn(self) -> contextlib.AbstractContextManager[bool]:
        return self._workers

    def _encode(self, windows: Sequence[SpeechWindow]) -> np.ndarray:
        audio = [np.frombuffer(window.pcm, np.int16).astype(np.float32) / 32768 for window in windows]
        states = self._model.encode(_view(log_mel(audio, self._mels)), to_cpu=True)
        return np.asarray(states.to(ctranslate2.DataType.float32))

    def _find(self, encoded: np.ndarray, silence: bool) -> list[Detected]:
        states = _view(encoded)
        no_speech = self._no_speech_probs(states, len(encoded)) if silence else [None] * len(encoded)
        if not self._ids.languages:  # an English-only checkpoint
            return [Detected("en", 1.0, each) for each in no_speech]
        found = []
        for likely, no_speech_prob in zip(self._model.detect_language(states), no_speech, strict=True):
            chosen = {code: share for name, share in likely if (code := name.strip("<|>")) in self._choice}
            best = max(chosen, key=chosen.__getitem__)
            share = chosen[best] / (sum(chosen.values()) or 1.0)
            found.append(Detected(best, round(share, 3), no_speech_prob))
        return found

    def _no_speech_probs(self, states: ctranslate2.StorageView, count: int) -> list[float]:
        """Of each row, from one step of the decoder."""
        starts = [[self._ids.start]] * count
        results = self._model.generate(states, starts, beam_size=1, max_length=2, return_no_speech_prob=True)
        return [round(each.no_speech_prob, 3) for each in results]

    def _decode(self, encoded: np.ndarray, rows: Sequence[Row], windows: Sequence[SpeechWindow]) -> list[Decoded]:
        prompts = [self._ids.prompt(row.language, row.task) for row in rows]
        room = self._positions - len(prompts[0])
        results = self._model.generate(
            _view(encoded[[row.window for row in rows]]),
            prompts,
            beam_size=1,
            max_length=2 * room,  # of which CTranslate2 takes half
            max_initial_timestamp_index=self._latest_start,
            return_scores=True,
            return_no_speech_prob=True,
        )
        return [self._read(row, result, room, windows[row.window]) for row, result in zip(rows, results, strict=True)]

    def _read(
        self, row: Row, result: ctranslate2.models.WhisperGenerationResult, room: int, window: SpeechWindow
    ) -> Decoded:
        tokens = result.sequences_ids[0]
        truncated = len(tokens) >= room
        # the score is the mean over the text's tokens; the end-of-text token counts as well, as in openai/whisper
        mean = result.scores[0] * len(tokens) / (len(tokens) + (not truncated))
        no_speech_prob = round(result.no_speech_prob, 3)
        return Decoded(self._segments(row, tokens, window), round(mean, 3), truncated, no_speech_prob)

    def _text(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)


def _view(array: np.ndarray) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array))
