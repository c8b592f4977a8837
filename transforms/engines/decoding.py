"""What every Whisper engine reads the same way: its special tokens, its timestamps, and where it heard nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from transforms.engines.catalog import ModelError
from transforms.engines.languages import WHISPER
from transforms.engines.verdict import Thresholds, is_silence
from transforms.records import Segment, WindowTranscription

SECONDS_PER_TIMESTAMP = 0.02


class Row(NamedTuple):
    """One decoding: a window of the batch, and the task."""

    window: int
    language: str
    task: str


class Detected(NamedTuple):
    """What the first decoder step says of one window. Figures are rounded before anything is decided by them."""

    language: str
    probability: float
    no_speech_prob: float | None  # None where the engine tells it with the text


class Decoded(NamedTuple):
    """The text of one row."""

    segments: tuple[Segment, ...]
    avg_logprob: float
    truncated: bool
    no_speech_prob: float | None = None  # None where the engine tells it with the language


class TokenIds:
    """The ids of a checkpoint's special tokens: from its generation config, else from its tokenizer.

    Checkpoints that were fine-tuned with older releases of transformers ship without a generation config, and so do
    those that CTranslate2 converted.
    """

    def __init__(self, settings: Mapping[str, Any], known: Callable[[str], int | None]) -> None:
        """`settings` are those of the generation config, `known` the tokenizer's id of a token, None for no token.

        Raises:
            ModelError: the checkpoint has no timestamps.
        """
        no_timestamps = settings.get("no_timestamps_token_id")
        no_timestamps = known("<|notimestamps|>") if no_timestamps is None else no_timestamps
        start, end = settings.get("decoder_start_token_id"), settings.get("eos_token_id")
        start = known("<|startoftranscript|>") if start is None else start
        end = known("<|endoftext|>") if end is None else end
        if no_timestamps is None or start is None or end is None:
            raise ModelError("the checkpoint has no token for timestamps: it is not a whole Whisper")
        self.start, self.end, self.no_timestamps = int(start), int(end), int(no_timestamps)
        self.first_timestamp = self.no_timestamps + 1
        self.no_speech = self.no_timestamps - 1  # it has had two names, but one place
        self.languages: dict[str, int] = {}
        self._tasks: dict[str, int] = {}
        if settings.get("is_multilingual") is not False:
            self.languages = _languages(settings, known)
            tasks = settings.get("task_to_id") or {}
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


def _languages(settings: Mapping[str, Any], known: Callable[[str], int | None]) -> dict[str, int]:
    """The id of each language's token by its code; without a generation config in the order of the ids."""
    if given := settings.get("lang_to_id"):
        return {name.strip("<|>"): number for name, number in given.items()}
    found = {code: number for code in WHISPER if (number := known(f"<|{code}|>")) is not None}
    return dict(sorted(found.items(), key=lambda each: each[1]))


def heard(found: Detected, main: Decoded, texts: Mapping[str, Decoded], most: Thresholds) -> WindowTranscription:
    """What was said in a window, given the transcription and the text of each task: nothing where it is silent."""
    no_speech_prob = main.no_speech_prob if found.no_speech_prob is None else found.no_speech_prob
    silent = no_speech_prob is not None and is_silence(no_speech_prob, main.avg_logprob, main.segments, most)
    return WindowTranscription(
        texts={task: () if silent else text.segments for task, text in texts.items()},
        language=found.language,
        language_probability=found.probability,
        avg_logprob=main.avg_logprob,
        no_speech_prob=no_speech_prob,
        truncated=not silent and any(text.truncated for text in texts.values()),
    )


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
