"""How any Whisper engine hears a batch of windows, each in its own language: what an engine adds is its arithmetic.

A batch goes through the encoder once. One decoder step finds each window's language; then each task that a window
asks for is one row of a greedy decoding with timestamps. A window that is in several languages is taken apart
where it pauses, and its parts go the same way.
"""

from __future__ import annotations

import abc
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from transforms.engines.decoding import Decoded, Detected, Row, TokenIds, heard, split_at_timestamps
from transforms.engines.turns import Stretch, Turn, joined, part, stretches, turns
from transforms.engines.verdict import Thresholds
from transforms.records import Segment, SpeechWindow, WindowTranscription

SAMPLES_PER_STATE = 320  # of the encoder's
STATES = 500  # that a stretch of speech is first judged by
# a stretch that its states make less likely to be in its window's language is looked at by itself
DOUBT = 0.6

T = TypeVar("T")


class WindowModel(abc.ABC):
    """A loaded Whisper. The encoder's states, float[n_windows, n_states, d_model], are an array of the engine's own
    library, of which nothing is asked but rows and states by their numbers.
    """

    def __init__(self, ids: TokenIds, language: str, languages: Sequence[str], thresholds: Thresholds) -> None:
        """`language` is forced on every window ("" finds it), `languages` are those to choose from (() is all).

        Raises:
            ModelError: the model does not know one of them.
        """
        self._ids, self._language, self._thresholds = ids, language, thresholds
        self._choice = {code: ids.languages.get(code, 0) for code in languages or ids.languages}
        for code in filter(None, (language, *languages)):
            ids.check(code)

    @abc.abstractmethod
    def _encode(self, windows: Sequence[SpeechWindow]) -> Any:
        """The encoder's states of the windows."""

    @abc.abstractmethod
    def _find(self, encoded: Any, silence: bool) -> list[Detected]:
        """Language, among the choice, and no-speech probability of each row of states, from one decoder step.

        Openai/whisper's way: both are read off the logits behind <|startoftranscript|>. An engine that tells the
        latter with the text need not tell it here, unless `silence` asks for it.
        """

    @abc.abstractmethod
    def _decode(self, encoded: Any, rows: Sequence[Row], windows: Sequence[SpeechWindow]) -> list[Decoded]:
        """The text of each row, decoded greedily with timestamps."""

    @abc.abstractmethod
    def _text(self, tokens: list[int]) -> str:
        """The text of tokens that are no timestamps."""

    @abc.abstractmethod
    def _turn(self) -> contextlib.AbstractContextManager[Any]:
        """Holds the device for a batch."""

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[WindowTranscription]:
        with self._turn():
            started = time.monotonic()
            encoded = self._encode(windows)
            detected = self._detect(encoded, windows)
            taken_apart = self._turns(encoded, windows, detected)
            whole = [index for index in range(len(windows)) if index not in taken_apart]
            found = [detected[index] for index in whole]
            said = dict(zip(whole, self._hear(encoded[whole], [windows[each] for each in whole], found), strict=True))
            said.update(self._hear_turns(windows, taken_apart))
            infer_s = (time.monotonic() - started) / len(windows)
        return [said[index]._replace(infer_s=infer_s) for index in range(len(windows))]

    def _detect(self, encoded: Any, windows: Sequence[SpeechWindow]) -> list[Detected]:
        """Language and no-speech probability of each window, the language told where it is forced."""
        return [
            self._with_forced_language(window, each)
            for window, each in zip(windows, self._find(encoded, silence=False), strict=True)
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
        return self._language or window.chunk.media.language

    def _turns(
        self, encoded: Any, windows: Sequence[SpeechWindow], detected: Sequence[Detected]
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
            said = self._find(_states(encoded, some), silence=False)
            doubtful.update(
                index
                for (index, _), each in zip(some, said, strict=True)
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
        known = self._forced(window) or len(self._choice) < 2
        return not known and sum(each.is_long_enough for each in stretches(window)) > 1

    def _languages_of(self, window: SpeechWindow, found: Sequence[Stretch], size: int) -> list[tuple[str, float]]:
        """The language of each stretch and its probability, "" where it is short or no speech."""
        parts = [part(window, each.start, each.end) for each in found if each.is_long_enough]
        said = iter([each for some in _batches(parts, size) for each in self._find(self._encode(some), silence=True)])
        known = [next(said) if each.is_long_enough else None for each in found]
        most = self._thresholds.no_speech_threshold
        speech = [each if each and (each.no_speech_prob or 0.0) <= most else None for each in known]
        return [(each.language, each.probability) if each else ("", 0.0) for each in speech]

    def _hear_turns(
        self, windows: Sequence[SpeechWindow], taken_apart: dict[int, list[Turn]]
    ) -> dict[int, WindowTranscription]:
        """What was said in each window that is taken apart, by its place: no more parts at once than windows came."""
        every = [
            (index, part(windows[index], turn.start, turn.end), turn)
            for index, found in taken_apart.items()
            for turn in found
        ]
        said: list[WindowTranscription] = []
        for some in _batches(every, len(windows)):
            parts = [each for _, each, _ in some]
            encoded = self._encode(parts)
            found = [
                Detected(turn.language, turn.probability, each.no_speech_prob)
                for (_, _, turn), each in zip(some, self._find(encoded, silence=False), strict=True)
            ]
            said += self._hear(encoded, parts, found)
        pairs = list(zip(every, said, strict=True))
        return {
            index: joined(
                windows[index],
                [each for (at, each, _), _ in pairs if at == index],
                [what for (at, _, _), what in pairs if at == index],
            )
            for index in taken_apart
        }

    def _hear(
        self, encoded: Any, windows: Sequence[SpeechWindow], detected: Sequence[Detected]
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
            results.append(heard(found, main, texts, self._thresholds))
        return results

    def _segments(self, row: Row, tokens: Sequence[int], window: SpeechWindow) -> tuple[Segment, ...]:
        """The text of a row, cut at its timestamps; `tokens` end where the text does."""
        language = "en" if row.task == "translate" else row.language
        spoken = [
            Segment(start, end, self._text(piece).strip(), language)
            for start, end, piece in split_at_timestamps(tokens, self._ids.first_timestamp, window.duration_s)
        ]
        return tuple(segment for segment in spoken if segment.text)


def _batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The rows in order, so many at a time: what fits the device is known of windows."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _states(encoded: Any, stretches: Sequence[tuple[int, Stretch]]) -> Any:
    """float[n, STATES, d_model]: windows' states in stretches of them, taken evenly: every stretch has as many."""
    rows, first, end = np.array(
        [(index, each.start // SAMPLES_PER_STATE, each.end // SAMPLES_PER_STATE) for index, each in stretches]
    ).T[..., None]
    return encoded[rows, first + np.arange(STATES) * (end - first) // STATES]
