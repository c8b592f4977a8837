"""The figures of a run, added up over shards: what summary.json holds.

Counts and sums come from the records themselves, not from counters, which count an element again when its bundle is
retried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from transforms.dataset.schema import SCHEMA_VERSION
from transforms.records import DeadLetter, MediaOutcome, Transcript

DURATION_BOUNDS_S = (10, 60, 300, 1800, 3600, 10_800)
LENGTH_BOUNDS = (100, 1000, 10_000, 100_000)  # characters

# path of the figure → sum; "min" and "max" as last part are merged as such
Summary = Counter[tuple[str, ...]]


class MergeSummaries(beam.CombineFn):
    """Adds the summaries of all shards."""

    def create_accumulator(self) -> Summary:
        return Counter()

    def add_input(self, total: Summary, part: Summary) -> Summary:
        return add(total, part)

    def merge_accumulators(self, totals: Iterable[Summary]) -> Summary:
        merged: Summary = Counter()
        for total in totals:
            add(merged, total)
        return merged

    def extract_output(self, total: Summary) -> Summary:
        return total


def add(total: Summary, part: Summary) -> Summary:
    """The total, with the part in it. It costs what the part has, however many media or shards are in the total."""
    for path, value in part.items():
        if path in total:
            choose = {"min": min, "max": max}.get(path[-1], sum)
            value = choose([total[path], value])
        total[path] = value
    return total


def of_transcript(transcript: Transcript, outcome: MediaOutcome) -> Summary:
    """The figures of one transcript."""
    audio, characters = transcript.audio, len(transcript.text)
    language = transcript.language or "none"
    figures: dict[tuple[str, ...], float] = {
        ("media",): 1,
        ("transcripts",): 1,
        ("status", transcript.status): 1,
        ("audio_sec",): audio.duration_s,
        ("speech_sec",): audio.speech_s,
        ("segments",): len(transcript.segments),
        ("windows",): transcript.windows,
        ("stage_sec", "decode"): audio.decode_s,
        ("stage_sec", "inference"): transcript.infer_s,
        ("languages", language, "media"): 1,
        ("languages", language, "audio_sec"): audio.duration_s,
        ("languages", language, "speech_sec"): audio.speech_s,
        ("languages", language, "characters"): characters,
        ("sampling_rate", str(audio.sampling_rate_hz)): 1,
        **_spread("duration_sec", audio.duration_s, DURATION_BOUNDS_S),
        **_spread("text_characters", characters, LENGTH_BOUNDS),
    }
    for problem in transcript.problems:
        figures["problems", problem.code] = figures.get(("problems", problem.code), 0) + 1
    if outcome.fresh:
        figures["this_run", "media"] = 1
        figures["this_run", "audio_sec"] = audio.duration_s
    return Counter(figures)


def of_dead_letter(letter: DeadLetter, outcome: MediaOutcome) -> Summary:
    """The figures of one recording that could not be done."""
    figures = {("media",): 1, ("dead_letters",): 1, ("failures", letter.code): 1}
    if outcome.fresh:
        figures["this_run", "dead_letters"] = 1
    return Counter(figures)


def to_json(summary: Summary, wall_s: float, about: dict[str, Any]) -> dict[str, Any]:
    """summary.json: the figures as nested dicts, sorted, with the real-time factor of this run.

    The real-time factor is processing time over audio time, as speech recognition counts it: below 1 is faster than
    the audio plays.
    """
    content: dict[str, Any] = {"media": 0, "transcripts": 0, "dead_letters": 0, "failures": {}, **about}
    for path, value in sorted(summary.items()):
        place = content
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = round(value, 3)
    content["schema_version"] = SCHEMA_VERSION
    run = content.setdefault("this_run", {})
    run["wall_sec"] = round(wall_s, 1)
    if run.get("audio_sec"):
        run["real_time_factor"] = round(wall_s / run["audio_sec"], 4)
    return content


def _spread(name: str, value: float, bounds: tuple[int, ...]) -> dict[tuple[str, ...], float]:
    """Smallest, largest, sum and a histogram of a figure."""
    below = next((f"under {bound}" for bound in bounds if value < bound), f"{bounds[-1]} and more")
    return {
        (name, "min"): value,
        (name, "max"): value,
        (name, "sum"): value,
        (name, "histogram", below): 1,
    }
