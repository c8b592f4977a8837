"""Turns of language within a window: where its speech pauses it can be taken apart, each part in one language."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, Segment, SpeechWindow, WindowTranscription

LEAST_SPEECH_S = 1.0  # of a stretch whose language can be told
# a stretch at least as likely in a language brings it into a window that is in another
SURE = 0.9


class Stretch(NamedTuple):
    """Speech between two long pauses, with the half of each that is nearer: samples from the window's start."""

    start: int
    end: int
    speech: int  # samples, without the pauses

    @property
    def is_long_enough(self) -> bool:
        """Whether it is long enough for its language to be told."""
        return self.speech >= LEAST_SPEECH_S * SAMPLE_RATE_HZ


class Turn(NamedTuple):
    """Neighbouring stretches of one language: samples from the window's start."""

    start: int
    end: int
    language: str
    probability: float  # the least of its stretches'


def stretches(window: SpeechWindow) -> list[Stretch]:
    """The window without a gap, cut in the middle of each of its long pauses."""
    samples = len(window.pcm) // BYTES_PER_SAMPLE
    speech = itertools.pairwise([0, *itertools.chain(*window.pauses), samples])
    edges = itertools.pairwise([0, *(sum(pause) // 2 for pause in window.pauses), samples])
    spoken = itertools.islice(speech, 0, None, 2)  # every other is a pause
    return [Stretch(*edge, end - start) for edge, (start, end) in zip(edges, spoken, strict=True)]


def turns(found: Sequence[Stretch], detected: Sequence[tuple[str, float]], language: str) -> list[Turn]:
    """The turns that stretches make, given the language of each ("" where nothing tells) and its probability.

    The window is in `language`, and in those that a stretch is surely in. A stretch that seems to be in another, or
    of which nothing is known, goes with the one before it, the first ones with the first that is known.
    """
    spoken = {language, *(code for code, probability in detected if probability >= SURE)}
    detected = [each if each[0] in spoken else ("", 0.0) for each in detected]
    known = next((each for each in detected if each[0]), (language, 1.0))
    made: list[Turn] = []
    for stretch, each in zip(found, detected, strict=True):
        code, probability = known = each if each[0] else known
        if made and made[-1].language == code:
            least = min(made[-1].probability, probability)
            made[-1] = made[-1]._replace(end=stretch.end, probability=least)
        else:
            made.append(Turn(stretch.start, stretch.end, code, probability))
    return made


def part(window: SpeechWindow, start: int, end: int) -> SpeechWindow:
    """Those samples of the window as a window of their own."""
    pcm = window.pcm[start * BYTES_PER_SAMPLE : end * BYTES_PER_SAMPLE]
    return window._replace(start_sample=window.start_sample + start, pcm=pcm, pauses=())


def joined(
    window: SpeechWindow, parts: Sequence[SpeechWindow], heard: Sequence[WindowTranscription]
) -> WindowTranscription:
    """What was heard in a window, from what was heard in its parts; figures are means weighted by their length."""
    pairs = list(zip(parts, heard, strict=True))
    language = _longest([pair for pair in pairs if pair[1].texts.get("transcribe")] or pairs)
    seconds = [each.duration_s for each in parts]
    in_it = [each.duration_s if what.language == language else 0.0 for each, what in pairs]
    return WindowTranscription(
        texts={task: tuple(_moved(window, pairs, task)) for task in window.tasks},
        language=language,
        language_probability=_mean([what.language_probability for what in heard], in_it),
        avg_logprob=_mean([what.avg_logprob or 0.0 for what in heard], seconds),
        no_speech_prob=_mean([what.no_speech_prob or 0.0 for what in heard], seconds),
        truncated=any(what.truncated for what in heard),
    )


def _moved(
    window: SpeechWindow, pairs: Sequence[tuple[SpeechWindow, WindowTranscription]], task: str
) -> list[Segment]:
    """The segments of all parts, their times from the start of the window."""
    return [
        segment._replace(start=round(segment.start + shift, 3), end=round(segment.end + shift, 3))
        for each, what in pairs
        for shift in [each.start_s - window.start_s]
        for segment in what.texts[task]
    ]


def _longest(pairs: Sequence[tuple[SpeechWindow, WindowTranscription]]) -> str:
    """The language that most of the time is in."""
    samples: dict[str, int] = defaultdict(int)
    for each, what in pairs:
        samples[what.language] += len(each.pcm)
    return max(sorted(samples), key=samples.__getitem__)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return round(sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights), 3)
