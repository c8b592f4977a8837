"""Whisper on transformers and torch: any checkpoint."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import GenerationMixin, WhisperForConditionalGeneration, WhisperProcessor
from transformers.generation import LogitsProcessor, LogitsProcessorList, WhisperTimeStampLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.logging import disable_progress_bar

from transforms.engines.catalog import ModelError
from transforms.engines.conversion import transformers_source
from transforms.engines.decoding import Decoded, Detected, Row, TokenIds
from transforms.engines.placement import Placement
from transforms.engines.whisper_settings import WhisperSettings
from transforms.engines.window_model import WindowModel
from transforms.records import SAMPLE_RATE_HZ, SpeechWindow
from transforms.storage.secrets import redacted


class WhisperModel(WindowModel):
    """A loaded checkpoint. One call at a time runs on the device; several threads may call."""

    def __init__(self, settings: WhisperSettings, placement: Placement) -> None:
        self._device, self._lock = placement.device, threading.Lock()
        self._dtype = getattr(torch, placement.dtype)
        started = time.monotonic()
        disable_progress_bar()  # a worker's output is a log
        revision = settings.revision or "main"
        path = transformers_source(settings.model, revision)
        try:
            self._processor = WhisperProcessor.from_pretrained(path, revision=revision)
            model: Any = WhisperForConditionalGeneration.from_pretrained(path, revision=revision, dtype=self._dtype)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot load the model {settings.model.name}: {redacted(error)}") from error
        self._model = model.to(self._device).eval()
        self._tokenizer = self._processor.tokenizer
        ids = TokenIds(vars(model.generation_config), self._id)
        model.generation_config.no_timestamps_token_id = ids.no_timestamps  # the processor of timestamps asks for it
        super().__init__(ids, settings.language, settings.languages, settings.thresholds)
        seconds = time.monotonic() - started
        logging.getLogger(__name__).info("loaded %s on %s in %.1f s", settings.model.name, placement, seconds)

    def release_memory(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _id(self, token: str) -> int | None:
        number = self._tokenizer.convert_tokens_to_ids(token)
        return None if number in (None, self._tokenizer.unk_token_id) else int(number)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock, torch.inference_mode():
            yield

    def _encode(self, windows: Sequence[SpeechWindow]) -> torch.Tensor:
        """float[n_windows, n_frames, d_model]: the encoder's states of the windows' log-mel spectrograms."""
        audio = [np.frombuffer(window.pcm, np.int16).astype(np.float32) / 32768 for window in windows]
        features = self._processor.feature_extractor(
            audio, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt", device=self._device
        ).input_features
        encoder = self._model.get_encoder()
        return encoder(features.to(self._device, self._dtype)).last_hidden_state

    def _find(self, encoded: torch.Tensor, silence: bool) -> list[Detected]:
        ids = self._ids
        start = torch.full((len(encoded), 1), ids.start, device=self._device)
        logits = self._model(decoder_input_ids=start, encoder_outputs=BaseModelOutput(encoded)).logits[:, 0].float()
        no_speech = [round(each, 3) for each in logits.softmax(-1)[:, ids.no_speech].tolist()]
        if not ids.languages:  # an English-only checkpoint
            return [Detected("en", 1.0, each) for each in no_speech]
        likely, best = logits[:, list(self._choice.values())].softmax(-1).max(-1)
        return [
            Detected(list(self._choice)[at], round(probability, 3), no_speech_prob)
            for at, probability, no_speech_prob in zip(best.tolist(), likely.tolist(), no_speech, strict=True)
        ]

    def _decode(self, encoded: torch.Tensor, rows: Sequence[Row], windows: Sequence[SpeechWindow]) -> list[Decoded]:
        prompts = torch.tensor([self._ids.prompt(row.language, row.task) for row in rows], device=self._device)
        width = prompts.shape[1]
        settings = self._model.generation_config
        confidence = Confidence(width, self._ids.end)
        processors = LogitsProcessorList([WhisperTimeStampLogitsProcessor(settings, width), confidence])
        states = encoded[[row.window for row in rows]]
        # Whisper's own generate takes one task for the whole batch and encodes again for each call; the loop
        # that it builds on takes a prompt for each row.
        tokens: Any = GenerationMixin.generate(
            self._model,
            encoder_outputs=BaseModelOutput(states),
            attention_mask=torch.ones(states.shape[:2], device=self._device),
            decoder_input_ids=prompts,
            logits_processor=processors,
            do_sample=False,
            num_beams=1,
            max_length=self._model.config.max_target_positions,
            return_dict_in_generate=False,
        )
        means = confidence.means()
        return [
            self._read(row, found[width:], mean, windows[row.window])
            for row, found, mean in zip(rows, tokens.tolist(), means, strict=True)
        ]

    def _read(self, row: Row, tokens: list[int], avg_logprob: float, window: SpeechWindow) -> Decoded:
        truncated = self._ids.end not in tokens
        text = tokens if truncated else tokens[: tokens.index(self._ids.end)]
        return Decoded(self._segments(row, text, window), round(avg_logprob, 3), truncated)

    def _text(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)


class Confidence(LogitsProcessor):
    """Changes nothing; adds up the log probability of the token that greedy decoding takes next in each row."""

    def __init__(self, prompt_length: int, end: int) -> None:
        self._prompt_length, self._end = prompt_length, end
        self._sum = self._count = torch.zeros(0)

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        best = scores.float().log_softmax(-1).amax(-1)
        running = ~(input_ids[:, self._prompt_length :] == self._end).any(-1)
        if not len(self._sum):
            self._sum = self._count = torch.zeros_like(best)
        self._sum = self._sum + best * running
        self._count = self._count + running
        return scores

    def means(self) -> list[float]:
        """The mean over each row's tokens, the end-of-text token among them, as openai/whisper counts it."""
        return (self._sum / self._count.clamp(min=1)).tolist()
