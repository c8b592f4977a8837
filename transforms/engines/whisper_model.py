"""Whisper on transformers and torch: any checkpoint, many windows at once, each in its own language.

A batch goes through the encoder once. One decoder step finds each window's language and whether there is speech at
all; then each task that a window asks for is one row of a greedy decoding with timestamps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import GenerationMixin, WhisperForConditionalGeneration, WhisperProcessor
from transformers.generation import LogitsProcessor, LogitsProcessorList, WhisperTimeStampLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.tokenization_whisper import LANGUAGES
from transformers.utils.logging import disable_progress_bar

from transforms.engines.catalog import ModelError, fetch_config
from transforms.engines.devices import Placement
from transforms.engines.whisper_settings import WhisperSettings
from transforms.records import SAMPLE_RATE_HZ, Heard, Segment, SpeechWindow
from transforms.storage.secrets import redacted

SECONDS_PER_TIMESTAMP = 0.02
UNSURE = -1.0  # openai/whisper's: a window over the no-speech threshold is silent unless its text is likelier


class Row(NamedTuple):
    """One decoding: a window of the batch, and the task."""

    window: int
    language: str
    task: str


class Detected(NamedTuple):
    """What the first decoder step says of one window. Figures are rounded before anything is decided by them."""

    language: str
    probability: float
    no_speech_prob: float


class Decoded(NamedTuple):
    """The text of one row."""

    segments: tuple[Segment, ...]
    avg_logprob: float
    truncated: bool


class WhisperModel:
    """A loaded checkpoint. One call at a time runs on the device; several threads may call."""

    def __init__(self, settings: WhisperSettings, placement: Placement) -> None:
        self._settings, self._device, self._lock = settings, placement.device, threading.Lock()
        self._dtype = getattr(torch, placement.dtype)
        started = time.monotonic()
        disable_progress_bar()  # a worker's output is a log
        path, revision = settings.model.path, settings.revision or "main"
        fetch_config(path, revision)
        try:
            self._processor = WhisperProcessor.from_pretrained(path, revision=revision)
            model: Any = WhisperForConditionalGeneration.from_pretrained(path, revision=revision, dtype=self._dtype)
        except (OSError, ValueError) as error:
            raise ModelError(f"cannot load the model {settings.model.name}: {redacted(error)}") from error
        self._model = model.to(self._device).eval()
        self._tokenizer = self._processor.tokenizer
        self._ids = TokenIds(model.generation_config, self._tokenizer)
        for language in filter(None, (settings.language, *settings.languages)):
            self._ids.check(language)
        seconds = time.monotonic() - started
        logging.getLogger(__name__).info("loaded %s on %s in %.1f s", settings.model.name, placement, seconds)

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[Heard]:
        with self._lock, torch.inference_mode():
            started = time.monotonic()
            encoded = self._encode(windows)
            detected = self._detect(encoded, windows)
            rows = [
                Row(index, found.language, task)
                for index, (window, found) in enumerate(zip(windows, detected, strict=True))
                for task in window.tasks
                if task == "transcribe" or found.language != "en"  # English needs no translation into English
            ]
            decoded = dict(zip(rows, self._decode(encoded, rows, windows), strict=True))
            infer_s = (time.monotonic() - started) / len(windows)
        results = []
        for index, (window, found) in enumerate(zip(windows, detected, strict=True)):
            main = decoded[Row(index, found.language, "transcribe")]
            texts = {task: decoded.get(Row(index, found.language, task), main) for task in window.tasks}
            results.append(self._heard(found, main, texts, infer_s))
        return results

    def release_memory(self) -> None:
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _encode(self, windows: Sequence[SpeechWindow]) -> torch.Tensor:
        """float[n_windows, n_frames, d_model]: the encoder's states of the windows' log-mel spectrograms."""
        audio = [np.frombuffer(window.pcm, np.int16).astype(np.float32) / 32768 for window in windows]
        features = self._processor.feature_extractor(
            audio, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt", device=self._device
        ).input_features
        encoder = self._model.get_encoder()
        return encoder(features.to(self._device, self._dtype)).last_hidden_state

    def _detect(self, encoded: torch.Tensor, windows: Sequence[SpeechWindow]) -> list[Detected]:
        """Language and no-speech probability of each window, from one decoder step.

        Openai/whisper's way: both are read off the logits behind <|startoftranscript|>.
        """
        ids = self._ids
        start = torch.full((len(windows), 1), ids.start, device=self._device)
        logits = self._model(decoder_input_ids=start, encoder_outputs=BaseModelOutput(encoded)).logits[:, 0].float()
        no_speech = [round(each, 3) for each in logits.softmax(-1)[:, ids.no_speech].tolist()]
        if not ids.languages:  # an English-only checkpoint
            return [Detected("en", 1.0, each) for each in no_speech]
        choice = {code: ids.language(code) for code in self._settings.languages or ids.languages}
        likely, best = logits[:, list(choice.values())].softmax(-1).max(-1)
        found = [
            Detected(list(choice)[at], round(probability, 3), silence)
            for at, probability, silence in zip(best.tolist(), likely.tolist(), no_speech, strict=True)
        ]
        return [self._told(window, each) for window, each in zip(windows, found, strict=True)]

    def _told(self, window: SpeechWindow, found: Detected) -> Detected:
        """What was found, or the language that the options or the manifest give.

        Raises:
            ValueError: the model does not know that language.
        """
        forced = self._settings.language or window.chunk.media.language
        if not forced:
            return found
        self._ids.language(forced)
        return found._replace(language=forced, probability=1.0)

    def _decode(self, encoded: torch.Tensor, rows: Sequence[Row], windows: Sequence[SpeechWindow]) -> list[Decoded]:
        """The text of each row, decoded greedily with timestamps."""
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
        language = "en" if row.task == "translate" else row.language
        spoken = [
            Segment(start, end, self._tokenizer.decode(piece, skip_special_tokens=True).strip(), language)
            for start, end, piece in split_at_timestamps(text, self._ids.first_timestamp, window.duration_s)
        ]
        return Decoded(tuple(segment for segment in spoken if segment.text), round(avg_logprob, 3), truncated)

    def _heard(self, found: Detected, main: Decoded, texts: dict[str, Decoded], infer_s: float) -> Heard:
        silent = found.no_speech_prob > self._settings.no_speech_threshold and main.avg_logprob < UNSURE
        return Heard(
            texts={task: () if silent else text.segments for task, text in texts.items()},
            language=found.language,
            language_probability=found.probability,
            avg_logprob=main.avg_logprob,
            no_speech_prob=found.no_speech_prob,
            truncated=not silent and any(text.truncated for text in texts.values()),
            infer_s=infer_s,
        )


class TokenIds:
    """The ids of a checkpoint's special tokens: from its generation config, else from its tokenizer.

    Checkpoints that were fine-tuned with older releases of transformers ship without a generation config.
    """

    def __init__(self, settings: Any, tokenizer: Any) -> None:
        def known(token: str) -> int | None:
            number = tokenizer.convert_tokens_to_ids(token)
            return None if number in (None, tokenizer.unk_token_id) else int(number)

        if getattr(settings, "no_timestamps_token_id", None) is None:
            settings.no_timestamps_token_id = known("<|notimestamps|>")
            if settings.no_timestamps_token_id is None:
                raise ModelError("the checkpoint has no token for timestamps: it is not a whole Whisper")
        self.start: int = settings.decoder_start_token_id
        self.end: int = settings.eos_token_id
        self.first_timestamp: int = settings.no_timestamps_token_id + 1
        self.no_speech: int = settings.no_timestamps_token_id - 1  # it has had two names, but one place
        self.languages: dict[str, int] = {}
        self._tasks: dict[str, int] = {}
        if getattr(settings, "is_multilingual", None) is not False:
            given = getattr(settings, "lang_to_id", None) or {
                f"<|{code}|>": known(f"<|{code}|>") for code in LANGUAGES
            }
            self.languages = {name.strip("<|>"): number for name, number in given.items() if number is not None}
            tasks = getattr(settings, "task_to_id", None) or {}
            self._tasks = {task: tasks.get(task) or known(f"<|{task}|>") or 0 for task in ("transcribe", "translate")}

    def language(self, code: str) -> int:
        """Raises ValueError for a language that the model does not know."""
        if code not in self.languages:
            raise ValueError(f"the model does not know the language {code!r}; it knows {', '.join(self.languages)}")
        return self.languages[code]

    def check(self, code: str) -> None:
        """Raises ModelError for a language that the model cannot be told."""
        if code not in (self.languages or {"en": 0}):
            raise ModelError(f"the model does not know the language {code!r}: change --language or --languages")

    def prompt(self, language: str, task: str) -> list[int]:
        if not self.languages:
            return [self.start]
        return [self.start, self.language(language), self._tasks[task]]


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


def split_at_timestamps(
    tokens: Sequence[int], first_timestamp: int, duration_s: float
) -> list[tuple[float, float, list[int]]]:
    """(start, end, text tokens) of each segment, in seconds from the start of the window.

    Times never run backwards nor beyond the window; a segment that the text leaves open ends with the window. Text
    that begins where the audio has ended was heard in the silence that fills the model's window, and goes.
    """
    pieces: list[tuple[float, float, list[int]]] = []
    start, text, end = 0.0, list[int](), round(duration_s, 3)
    for token in tokens:
        if token < first_timestamp:
            text.append(token)
            continue
        at = round(min((token - first_timestamp) * SECONDS_PER_TIMESTAMP, end), 3)
        if text:
            pieces.append((start, max(start, at), text))
            text = []
        start = max(start, at)
    if text:
        pieces.append((start, end, text))
    return [piece for piece in pieces if piece[0] < end]
