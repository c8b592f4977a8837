"""Whisper on transformers and torch: any checkpoint, many windows at once, each in its own language.

A batch goes through the encoder once. One decoder step finds each window's language and whether there is speech at
all; then each task that a window asks for is one row of a greedy decoding with timestamps. A window that is in
several languages is taken apart where it pauses, and its parts go the same way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from transformers import GenerationMixin, WhisperForConditionalGeneration, WhisperProcessor
from transformers.generation import LogitsProcessor, LogitsProcessorList, WhisperTimeStampLogitsProcessor
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.tokenization_whisper import LANGUAGES
from transformers.utils.logging import disable_progress_bar

from transforms.engines.catalog import ModelError, fetch_config
from transforms.engines.devices import Placement
from transforms.engines.turns import Stretch, Turn, joined, part, stretches, turns
from transforms.engines.verdict import is_silence
from transforms.engines.whisper_settings import WhisperSettings
from transforms.records import SAMPLE_RATE_HZ, Segment, SpeechWindow, WindowTranscription
from transforms.storage.secrets import redacted

SECONDS_PER_TIMESTAMP = 0.02
SAMPLES_PER_STATE = 320  # of the encoder's
STATES = 500  # that a stretch of speech is first judged by
# a stretch that its states make less likely to be in its window's language is looked at by itself
DOUBT = 0.6

T = TypeVar("T")


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
        self._choice = len(set(settings.languages or self._ids.languages))
        for language in filter(None, (settings.language, *settings.languages)):
            self._ids.check(language)
        seconds = time.monotonic() - started
        logging.getLogger(__name__).info("loaded %s on %s in %.1f s", settings.model.name, placement, seconds)

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[WindowTranscription]:
        with self._lock, torch.inference_mode():
            started = time.monotonic()
            encoded = self._encode(windows)
            detected = self._detect(encoded, windows)
            taken_apart = self._turns(encoded, windows, detected)
            whole = [index for index in range(len(windows)) if index not in taken_apart]
            found = [detected[index] for index in whole]
            heard = dict(
                zip(whole, self._hear(encoded[whole], [windows[each] for each in whole], found), strict=True)
            )
            heard.update(self._hear_turns(windows, taken_apart))
            infer_s = (time.monotonic() - started) / len(windows)
        return [heard[index]._replace(infer_s=infer_s) for index in range(len(windows))]

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
        """Language and no-speech probability of each window, the language told where it is forced."""
        return [
            self._with_forced_language(window, each)
            for window, each in zip(windows, self._find(encoded), strict=True)
        ]

    def _find(self, encoded: torch.Tensor) -> list[Detected]:
        """Language and no-speech probability of each row of states, from one decoder step.

        Openai/whisper's way: both are read off the logits behind <|startoftranscript|>.
        """
        ids = self._ids
        start = torch.full((len(encoded), 1), ids.start, device=self._device)
        logits = self._model(decoder_input_ids=start, encoder_outputs=BaseModelOutput(encoded)).logits[:, 0].float()
        no_speech = [round(each, 3) for each in logits.softmax(-1)[:, ids.no_speech].tolist()]
        if not ids.languages:  # an English-only checkpoint
            return [Detected("en", 1.0, each) for each in no_speech]
        choice = {code: ids.language(code) for code in self._settings.languages or ids.languages}
        likely, best = logits[:, list(choice.values())].softmax(-1).max(-1)
        return [
            Detected(list(choice)[at], round(probability, 3), silence)
            for at, probability, silence in zip(best.tolist(), likely.tolist(), no_speech, strict=True)
        ]

    def _with_forced_language(self, window: SpeechWindow, found: Detected) -> Detected:
        """What was found, or the language that the options or the manifest give.

        Raises:
            ValueError: the model does not know that language.
        """
        forced = self._forced(window)
        if not forced:
            return found
        self._ids.language(forced)
        return found._replace(language=forced, probability=1.0)

    def _forced(self, window: SpeechWindow) -> str:
        return self._settings.language or window.chunk.media.language

    def _turns(
        self, encoded: torch.Tensor, windows: Sequence[SpeechWindow], detected: Sequence[Detected]
    ) -> dict[int, list[Turn]]:
        """Of each window that is in several languages, by its place: which is spoken from where to where.

        Such a window is as sure of one of them as any other (0.997 was seen), so its probability says nothing. Its
        states do, stretch by stretch, for the price of a decoder step over a third of them. Only a window that they
        put in doubt has its stretches encoded by themselves, each at the price of a window, and that decides.
        """
        found = {index: stretches(window) for index, window in enumerate(windows) if self._may_turn(window)}
        rows = [(index, each) for index in found for each in found[index] if each.is_long_enough]
        doubtful: set[int] = set()
        for some in _batches(rows, len(windows)):
            heard = self._find(torch.stack([_states(encoded[index], each) for index, each in some]))
            doubtful.update(
                index
                for (index, _), each in zip(some, heard, strict=True)
                if each.language != detected[index].language or each.probability < DOUBT
            )
        made = {
            index: turns(
                found[index], self._languages_of(windows[index], found[index], len(windows)), detected[index].language
            )
            for index in sorted(doubtful)
        }
        return {index: each for index, each in made.items() if len(each) > 1}

    def _may_turn(self, window: SpeechWindow) -> bool:
        """Whether there are languages to choose from, and stretches of speech to tell them by."""
        known = self._forced(window) or self._choice < 2
        return not known and sum(each.is_long_enough for each in stretches(window)) > 1

    def _languages_of(self, window: SpeechWindow, found: Sequence[Stretch], size: int) -> list[tuple[str, float]]:
        """The language of each stretch and its probability, "" where it is short or no speech."""
        parts = [part(window, each.start, each.end) for each in found if each.is_long_enough]
        heard = iter([each for some in _batches(parts, size) for each in self._find(self._encode(some))])
        known = [next(heard) if each.is_long_enough else None for each in found]
        most = self._settings.no_speech_threshold
        return [
            (each.language, each.probability) if each and each.no_speech_prob <= most else ("", 0.0) for each in known
        ]

    def _hear_turns(
        self, windows: Sequence[SpeechWindow], taken_apart: dict[int, list[Turn]]
    ) -> dict[int, WindowTranscription]:
        """What was said in each window that is taken apart, by its place: no more parts at once than windows came."""
        every = [
            (index, part(windows[index], turn.start, turn.end), turn)
            for index, found in taken_apart.items()
            for turn in found
        ]
        heard: list[WindowTranscription] = []
        for some in _batches(every, len(windows)):
            parts = [each for _, each, _ in some]
            encoded = self._encode(parts)
            found = [
                Detected(turn.language, turn.probability, each.no_speech_prob)
                for (_, _, turn), each in zip(some, self._find(encoded), strict=True)
            ]
            heard += self._hear(encoded, parts, found)
        pairs = list(zip(every, heard, strict=True))
        return {
            index: joined(
                windows[index],
                [each for (at, each, _), _ in pairs if at == index],
                [what for (at, _, _), what in pairs if at == index],
            )
            for index in taken_apart
        }

    def _hear(
        self, encoded: torch.Tensor, windows: Sequence[SpeechWindow], detected: Sequence[Detected]
    ) -> list[WindowTranscription]:
        """What was said in each window, in the language that it is known to be in."""
        if not windows:
            return []
        rows = [
            Row(index, found.language, task)
            for index, (window, found) in enumerate(zip(windows, detected, strict=True))
            for task in window.tasks
            if task == "transcribe" or found.language != "en"  # English needs no translation into English
        ]
        decoded = dict(zip(rows, self._decode(encoded, rows, windows), strict=True))
        results = []
        for index, (window, found) in enumerate(zip(windows, detected, strict=True)):
            main = decoded[Row(index, found.language, "transcribe")]
            texts = {task: decoded.get(Row(index, found.language, task), main) for task in window.tasks}
            results.append(self._heard(found, main, texts))
        return results

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

    def _heard(self, found: Detected, main: Decoded, texts: dict[str, Decoded]) -> WindowTranscription:
        silent = is_silence(found.no_speech_prob, main.avg_logprob, main.segments, self._settings.thresholds)
        return WindowTranscription(
            texts={task: () if silent else text.segments for task, text in texts.items()},
            language=found.language,
            language_probability=found.probability,
            avg_logprob=main.avg_logprob,
            no_speech_prob=found.no_speech_prob,
            truncated=not silent and any(text.truncated for text in texts.values()),
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


def _batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The rows in order, so many at a time: what fits the device is known of windows."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _states(encoded: torch.Tensor, stretch: Stretch) -> torch.Tensor:
    """float[STATES, d_model]: a window's states in the stretch, taken evenly, so that every stretch has as many."""
    first, end = stretch.start // SAMPLES_PER_STATE, stretch.end // SAMPLES_PER_STATE
    return encoded[first + torch.arange(STATES, device=encoded.device) * (end - first) // STATES]


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
