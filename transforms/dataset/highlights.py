"""The few media that the report shows, picked out of any number while their shards are written.

Each shard picks from its own media, and the picks are merged as the figures are: nothing is read again, what is held
does not grow with the run, and the same media come out however they are spread over shards.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Iterable
from typing import NamedTuple

import apache_beam as beam

from transforms.records import DeadLetter, Segment, Transcript

WORST = 8  # media
SAMPLE = 8
LETTERS = 3  # of each code
CUES = 20  # of a recording
PROBLEMS = 5
# of a recording's cues, translations included: they are what a page weighs
CHARACTERS = 3000
LONGEST = 300  # characters of one text


class Highlight(NamedTuple):
    """A recording that may be shown."""

    transcript: Transcript  # with its first cues alone
    segments: int  # of the whole
    problems: int
    badness: float  # how much there is to doubt, from 0


class Highlights(NamedTuple):
    """What was picked of some media."""

    worst: tuple[Highlight, ...] = ()  # the worst first
    sample: tuple[Highlight, ...] = ()
    letters: tuple[DeadLetter, ...] = ()  # by code

    def of(self, transcripts: int) -> tuple[tuple[Highlight, ...], tuple[Highlight, ...]]:
        """The worst and the sample of so many transcripts, none of them twice.

        The worst are at most a third: of a few media, most belong to the sample.
        """
        worst = self.worst[: transcripts // 3]
        shown = {each.transcript.media.media_id for each in worst}
        rest = [each for each in self.sample if each.transcript.media.media_id not in shown]
        return worst, tuple(rest[:SAMPLE])


class MergeHighlights(beam.CombineFn):
    """Picks from the picks of all shards."""

    def create_accumulator(self) -> Highlights:
        return Highlights()

    def add_input(self, total: Highlights, part: Highlights) -> Highlights:
        return merge(total, part)

    def merge_accumulators(self, totals: Iterable[Highlights]) -> Highlights:
        return functools.reduce(merge, totals, Highlights())

    def extract_output(self, total: Highlights) -> Highlights:
        return total


def merge(one: Highlights, other: Highlights) -> Highlights:
    """The picks out of both, the same in whatever order they are merged."""
    # A media_id is a hash, so the smallest ones are a sample; as many more as the worst may take out of it.
    return Highlights(
        tuple(heapq.nsmallest(WORST, one.worst + other.worst, lambda each: (-each.badness, _media_id(each)))),
        tuple(heapq.nsmallest(SAMPLE + WORST, one.sample + other.sample, _media_id)),
        _first_of_each_code(one.letters + other.letters),
    )


def of_transcript(transcript: Transcript) -> Highlights:
    """The transcript as a candidate. One in which nothing was said is never among the worst."""
    candidate = Highlight(
        _cut(transcript), len(transcript.segments), len(transcript.problems), round(badness(transcript), 3)
    )
    return Highlights((candidate,) if transcript.segments else (), (candidate,))


def of_dead_letter(letter: DeadLetter) -> Highlights:
    last = (letter.detail.strip().splitlines() or [""])[-1]
    return Highlights(letters=(letter._replace(detail=shortened(last)),))


def badness(transcript: Transcript) -> float:
    """The share of the audio that is missing, plus that of windows with a problem, plus how unsure the model was."""
    problems = min(1.0, len(transcript.problems) / max(transcript.windows, 1))
    return 1 - transcript.coverage + problems - (transcript.avg_logprob or 0.0)


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _cut(transcript: Transcript) -> Transcript:
    """The transcript with as much of it as the page shows."""
    segments: list[Segment] = []
    left = CHARACTERS
    for segment in transcript.segments[:CUES]:
        translation = None if segment.translation is None else shortened(segment.translation)
        segment = segment._replace(text=shortened(segment.text), translation=translation)
        left -= len(segment.text) + len(translation or "")
        if left < 0:
            break
        segments.append(segment)
    problems = [problem._replace(message=shortened(problem.message)) for problem in transcript.problems[:PROBLEMS]]
    audio = transcript.audio._replace(problems=())
    return transcript._replace(
        segments=tuple(segments), translated_segments=(), problems=tuple(problems), audio=audio
    )


def _first_of_each_code(letters: Iterable[DeadLetter]) -> tuple[DeadLetter, ...]:
    ordered = sorted(letters, key=lambda each: (each.code, each.media.id, each.media.media_id))
    groups = itertools.groupby(ordered, key=lambda each: each.code)
    return tuple(letter for _, group in groups for letter in itertools.islice(group, LETTERS))


def _media_id(highlight: Highlight) -> str:
    return highlight.transcript.media.media_id
