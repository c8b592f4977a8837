"""Cutting a stream of audio into windows of speech: none longer than the model is good for, none cut inside a
word where a pause is near, each with its exact place in the recording."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from transforms.media.voice_activity import FRAME_SAMPLES
from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
FRAME_BYTES = FRAME_SAMPLES * BYTES_PER_SAMPLE
# between sentences or speakers: there a window may be taken apart
LONG_PAUSE_S = 0.5


@dataclasses.dataclass(frozen=True)
class WindowConfig:
    """How speech is found and packed."""

    max_window_s: float = 30.0  # Whisper's
    # a frame at least as likely as this starts speech; 0.15 below it keeps speech going
    threshold: float = 0.5
    min_speech_s: float = 0.1  # shorter bursts are clicks
    min_pause_s: float = 0.3  # shorter pauses belong to the speech around them
    # longer ones end a window: models invent text in long silences
    max_pause_s: float = 2.0
    pad_s: float = 0.2  # kept before and after speech: onsets are quiet

    def __post_init__(self) -> None:
        if self.max_window_s < 1:
            raise ValueError(f"max_window_s is {self.max_window_s}: a window needs at least 1 second")
        if not 0.15 < self.threshold < 1:
            raise ValueError(f"vad_threshold is {self.threshold}: choose between 0.15 and 1")


class Window(NamedTuple):
    """One window of one stream."""

    start_sample: int
    pcm: bytes
    speech_s: float
    pauses: tuple[tuple[int, int], ...] = ()  # its long ones: samples [start, end) from its start


class Span(NamedTuple):
    """Frames [start, end) of speech."""

    start: int
    end: int


class WindowCutter:
    """Cuts one stream: feed it blocks of audio with their speech probabilities, then finish.

    It holds the audio of at most two windows, one to fill and one to come, and one block, however long the recording.
    """

    def __init__(self, config: WindowConfig) -> None:
        self._config = config
        self._audio = bytearray()
        self._dropped = 0  # frames no longer held in front of the audio
        self._seen = 0  # frames whose probability is known
        self._voice: list[float] = []  # probability of each frame of the open span
        self._open: int | None = None  # where the open span starts
        self._last_voiced = 0  # end of its last voiced frame
        # where the last span was split: the rest of a word is no click
        self._cut: int | None = None
        self._pending: list[Span] = []  # spans of the window that is being filled
        self._pad = round(config.pad_s / FRAME_S)
        self._room = int(config.max_window_s / FRAME_S) - 2 * self._pad  # frames of a window without its padding

    def feed(self, pcm: bytes, probabilities: np.ndarray) -> Iterator[Window]:
        """The windows that are complete by the end of this block."""
        self._audio += pcm
        for probability in probabilities:
            yield from self._frame(float(probability))
        self._discard_audio()

    def finish(self) -> Iterator[Window]:
        """The windows that are left when the stream has ended."""
        if self._open is not None:
            yield from self._close(self._last_voiced)
        yield from self._flush()

    def _frame(self, probability: float) -> Iterator[Window]:
        at, config = self._seen, self._config
        self._seen += 1
        if self._open is None:
            if probability >= config.threshold:
                self._open, self._last_voiced = at, at + 1
                self._voice = [probability]
            elif self._pending and (at - self._pending[-1].end) * FRAME_S > config.max_pause_s + config.pad_s:
                yield from self._flush()
            return
        self._voice.append(probability)
        if probability >= config.threshold - 0.15:
            self._last_voiced = at + 1
        if (self._seen - self._last_voiced) * FRAME_S >= config.min_pause_s:
            yield from self._close(self._last_voiced)
        elif self._seen - self._open >= self._room:
            yield from self._split()

    def _close(self, end: int) -> Iterator[Window]:
        """End the open span at the frame `end`."""
        assert self._open is not None
        span, self._open = Span(self._open, end), None
        if (span.end - span.start) * FRAME_S >= self._config.min_speech_s or span.start == self._cut:
            yield from self._add(span)

    def _split(self) -> Iterator[Window]:
        """Nobody paused for a whole window: cut the open span at the quietest place of its second half."""
        assert self._open is not None
        start, half = self._open, self._room // 2
        pcm = bytes(self._audio[self._offset(start + half) : self._offset(self._seen)])
        cut = start + half + quietest(np.array(self._voice[half:]), loudness(pcm, len(self._voice) - half))
        rest = self._voice[cut - start :]
        yield from self._add(Span(start, cut))
        yield from self._flush()
        self._open, self._voice, self._last_voiced = cut, rest, max(self._last_voiced, cut + 1)
        self._cut = cut

    def _add(self, span: Span) -> Iterator[Window]:
        """Put a span into the window that is being filled, or start the next with it."""
        if self._pending:
            gap_s = (span.start - self._pending[-1].end) * FRAME_S
            if gap_s > self._config.max_pause_s or span.end - self._pending[0].start > self._room:
                yield from self._flush(before=span.start)
        self._pending.append(span)

    def _flush(self, before: int | None = None) -> Iterator[Window]:
        """The window that is being filled, padded, but not into speech that comes after it."""
        if not self._pending:
            return
        spans, self._pending = self._pending, []
        start = max(spans[0].start - self._pad, self._dropped)
        limit = self._open if before is None and self._open is not None else before
        end = min(spans[-1].end + self._pad, self._seen if limit is None else max(limit, spans[-1].end))
        pcm = bytes(self._audio[self._offset(start) : self._offset(end)])
        speech_s = sum(span.end - span.start for span in spans) * FRAME_S
        # the next window starts behind this one, also where both pad the same short pause
        self._drop(end)
        if pcm:
            yield Window(start * FRAME_SAMPLES, pcm, speech_s, _pauses(spans, start))

    def _discard_audio(self) -> None:
        """Let go of audio that no window can need any more."""
        if self._pending:
            return
        needed = self._seen if self._open is None else self._open
        self._drop(max(self._dropped, needed - self._pad))

    def _drop(self, frame: int) -> None:
        del self._audio[: self._offset(frame)]
        self._dropped = max(self._dropped, frame)

    def _offset(self, frame: int) -> int:
        return max(0, frame - self._dropped) * FRAME_BYTES


def _pauses(spans: Sequence[Span], start: int) -> tuple[tuple[int, int], ...]:
    """The long pauses between the spans, in samples behind the frame `start`."""
    between = [(before.end, after.start) for before, after in itertools.pairwise(spans)]
    return tuple(
        ((end - start) * FRAME_SAMPLES, (begin - start) * FRAME_SAMPLES)
        for end, begin in between
        if (begin - end) * FRAME_S >= LONG_PAUSE_S
    )


def loudness(pcm: bytes, frames: int) -> np.ndarray:
    """float32[frames]: the root mean square of each frame, full scale 1; zeros where the audio is shorter."""
    samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
    samples = np.pad(samples, (0, frames * FRAME_SAMPLES - len(samples)))
    return np.sqrt((samples.reshape(-1, FRAME_SAMPLES) ** 2).mean(axis=1))


def quietest(probabilities: np.ndarray, loudness: np.ndarray) -> int:
    """The index of the frame where a cut hurts least: where speech is least likely and the sound is softest.

    Both are averaged over five frames (160 ms), about the shortest pause between two words.
    """
    kernel = np.ones(5, np.float32) / 5
    cost = probabilities + loudness / max(float(loudness.max()), 1e-6)
    smooth = np.convolve(np.pad(cost, 2, mode="edge"), kernel, mode="valid")
    return int(np.argmin(np.round(smooth, 4)))
