"""Assembles the transcript of a recording from its committed windows; equal windows give equal transcripts."""

from __future__ import annotations

import bisect
import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from transforms.dead_letters import HARMLESS, MediaError
from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    MediaChunk,
    Problem,
    Segment,
    SpeechWindow,
    Transcript,
    WindowRecord,
    WindowTranscription,
)
from transforms.storage.texts import clean
from transforms.work.store import LOST, WorkStore

OF_A_WINDOW = {"not_a_number", "token_limit"}  # verdicts whose place is a window; that of others is a time


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The engine and model that transcripts name as their origin."""

    engine: str
    model: str
    # the language that the model's own translations are in; "" where it made none
    translate_task_to: str = ""


def window_record(window: SpeechWindow, duration_s: float, heard: WindowTranscription) -> WindowRecord:
    """What is committed of one window, its segments moved to their place in the recording."""
    start = window.start_s
    texts = {task: tuple(_moved(segment, window, heard) for segment in found) for task, found in heard.texts.items()}
    return WindowRecord(
        number=window.number,
        start=round(start, 3),
        end=round(start + duration_s, 3),
        language=heard.language,
        language_probability=heard.language_probability,
        avg_logprob=heard.avg_logprob,
        no_speech_prob=heard.no_speech_prob,
        infer_s=round(heard.infer_s, 4),
        texts=texts,
        problem=_problem(window, heard),
        channel=window.channel,
    )


def read_transcript(chunk: MediaChunk, work: WorkStore, provenance: Provenance) -> Transcript:
    """The transcript of a recording from what is committed, with the translation that is committed.

    Raises:
        MediaError: a chunk is not committed, or cannot be read; or the model failed on every window of every chunk.
    """
    parts = [chunk._replace(chunk=number) for number in range(chunk.chunks)]
    committed = list(map(work.chunk, parts))
    for part, read in zip(parts, committed, strict=True):
        if read is None:
            work.delete_chunk(part)  # a broken one would be broken in every run
    if None in committed:
        raise MediaError(LOST)
    found = [read for read in committed if read]
    if chunk.chunks > 1:
        _check_heard(found)
    transcript = assemble(found, provenance)
    translated = work.read_translation(transcript)
    return with_texts(transcript, *translated, work.translation_language) if translated else transcript


def _check_heard(chunks: Sequence[ChunkTranscript]) -> None:
    """Raise MediaError where there was speech, and the model failed on all of it."""
    problems = [window.problem if window.failed else None for chunk in chunks for window in chunk.windows]
    first = problems[0] if problems else None
    if first and all(problems):
        raise MediaError("engine_failed", first.message)


def assemble(chunks: Sequence[ChunkTranscript], provenance: Provenance) -> Transcript:
    """The transcript of the recording whose chunks these are, all of them and in order."""
    windows = [window for chunk in chunks for window in chunk.windows]
    audio = _merged(chunks)
    segments = in_order(segment for window in windows for segment in window.texts.get("transcribe", ()))
    translated = in_order(segment for window in windows for segment in window.texts.get("translate", ()))
    problems = (*audio.problems, *(window.problem for window in windows if window.problem))
    language, probability = main_language(windows)
    target = provenance.translate_task_to
    if target:
        segments = with_translations(segments, translated)
    return Transcript(
        media=chunks[0].chunk.media,
        audio=audio,
        language=language,
        language_probability=probability,
        segments=segments,
        status="partial" if _harm(problems) else "ok" if segments else "empty",
        coverage=_coverage(audio),
        infer_s=round(sum(window.infer_s for window in windows), 3),
        engine=provenance.engine,
        model=provenance.model,
        windows=len(windows),
        avg_logprob=_mean(windows, "avg_logprob"),
        no_speech_prob=_mean(windows, "no_speech_prob"),
        translation_language=target,
        translated_segments=translated if target else (),
        problems=problems,
        chunks=len(chunks),
    )


def main_language(windows: Iterable[WindowRecord]) -> tuple[str, float]:
    """The language spoken longest and the mean probability of its windows, each weighted by its length.

    A window in several languages counts for each by the share of its segments.
    """
    seconds: dict[str, float] = defaultdict(float)
    weighted: dict[str, float] = defaultdict(float)
    for window in windows:
        for code, share in _shares(window).items():
            seconds[code] += share * _seconds(window)
            weighted[code] += window.language_probability * share * _seconds(window)
    if not seconds:
        return "", 0.0
    language = max(sorted(seconds), key=lambda code: round(seconds[code], 3))
    return language, round(weighted[language] / seconds[language], 3)


def _shares(window: WindowRecord) -> dict[str, float]:
    """How much of what was said in the window is in which language: 1 altogether, or nothing."""
    seconds: dict[str, float] = defaultdict(float)
    for segment in window.texts.get("transcribe", ()):
        seconds[segment.language] += max(segment.end - segment.start, 0.001)  # as _seconds
    if len(seconds) == 1:
        return {window.language: 1.0}
    total = sum(seconds.values())
    return {code: each / total for code, each in seconds.items()}


def in_order(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The segments by time; of each channel, none starts before the one before it ends."""
    ordered: list[Segment] = []
    last: dict[int | None, int] = {}  # channel → place of its last segment
    for segment in sorted(segments, key=lambda each: (each.start, each.end, each.channel or 0)):
        before = last.get(segment.channel)
        if before is not None and segment.start < ordered[before].end:
            # Neighbouring windows share the pause between them, and a text left open ends with its window.
            ordered[before] = ordered[before]._replace(end=max(ordered[before].start, segment.start))
        last[segment.channel] = len(ordered)
        ordered.append(segment)
    return tuple(ordered)


def with_translations(segments: Sequence[Segment], translated: Sequence[Segment]) -> tuple[Segment, ...]:
    """Each translated segment's text put with the segment that it overlaps most, so that none is lost.

    The model translates a window anew, with segments of its own, which need not match the transcribed ones.
    """
    texts: list[list[str]] = [[] for _ in segments]
    for channel in {segment.channel for segment in segments}:
        places = [place for place, segment in enumerate(segments) if segment.channel == channel]
        own = [each for each in translated if each.channel == channel]
        for place, text in _placed([segments[place] for place in places], own):
            texts[places[place]].append(text)
    return tuple(
        segment._replace(translation=" ".join(found) or None) for segment, found in zip(segments, texts, strict=True)
    )


def _placed(segments: Sequence[Segment], translated: Sequence[Segment]) -> Iterator[tuple[int, str]]:
    """(place of the segment that it overlaps most, text) of each that is translated."""
    starts = [segment.start for segment in segments]
    for each in translated:
        # Only those that start before it ends, from the one under way when it starts, can overlap it.
        first = max(bisect.bisect_right(starts, each.start) - 1, 0)
        near = range(first, max(bisect.bisect_left(starts, each.end), first + 1))
        best = max(near, key=lambda at: min(each.end, segments[at].end) - max(each.start, segments[at].start))
        yield best, each.text


def with_texts(transcript: Transcript, texts: Sequence[str | None], error: str, target: str) -> Transcript:
    """The transcript with a translated text for each segment, and a problem for each that has none."""
    pairs = list(zip(transcript.segments, texts, strict=True))
    missing = [number for number, text in enumerate(texts, 1) if text is None]
    problems = tuple(Problem(f"cue {number}", "translation_failed", error) for number in missing)
    return transcript._replace(
        segments=tuple(segment._replace(translation=text) for segment, text in pairs),
        translated_segments=tuple(segment._replace(text=text, language=target) for segment, text in pairs if text),
        translation_language=target,
        problems=transcript.problems + problems,
        status="partial" if problems else transcript.status,
        complete=not problems,
    )


def _moved(segment: Segment, window: SpeechWindow, heard: WindowTranscription) -> Segment:
    return segment._replace(
        text=clean(segment.text),  # of whichever engine
        start=round(segment.start + window.start_s, 3),
        end=round(segment.end + window.start_s, 3),
        channel=window.channel,
        avg_logprob=heard.avg_logprob,
        no_speech_prob=heard.no_speech_prob,
    )


def _problem(window: SpeechWindow, heard: WindowTranscription) -> Problem | None:
    where = f"window {window.number}"
    if window.chunk.chunks > 1:
        where = f"chunk {window.chunk.chunk}, {where}"
    if heard.error:
        return Problem(where, "engine_failed", heard.error)
    if not heard.verdict:
        return None
    code, message, _ = heard.verdict
    return Problem(where if code in OF_A_WINDOW else f"second {window.start_s:.1f}", code, message)


def _merged(chunks: Sequence[ChunkTranscript]) -> AudioFacts:
    """The facts about the whole audio, from those of its chunks."""
    facts = [chunk.audio for chunk in chunks]
    problems = [problem for fact in facts for problem in fact.problems]
    return facts[0]._replace(
        declared_s=next((fact.declared_s for fact in facts if fact.declared_s is not None), None),
        duration_s=round(sum(fact.duration_s for fact in facts), 3),
        speech_s=round(sum(fact.speech_s for fact in facts), 3),
        lost_s=round(sum(fact.lost_s for fact in facts), 3),
        decode_s=round(sum(fact.decode_s for fact in facts), 3),
        problems=tuple({(each.where, each.code): each for each in reversed(problems)}.values())[::-1],  # the first
    )


def _harm(problems: Iterable[Problem]) -> bool:
    """Whether text may be missing."""
    return any(problem.code not in HARMLESS for problem in problems)


def _seconds(window: WindowRecord) -> float:
    return max(window.end - window.start, 0.001)  # rounded to milliseconds, a sliver has no length


def _coverage(audio: AudioFacts) -> float:
    claimed_s = audio.declared_s or audio.duration_s
    if not _harm(audio.problems) or not claimed_s:
        return 1.0
    return round(min(1.0, (audio.duration_s - audio.lost_s) / claimed_s), 3)


def _mean(windows: Sequence[WindowRecord], field: str) -> float | None:
    """The mean of a figure over the windows, weighted by their length."""
    known = [(getattr(w, field), _seconds(w)) for w in windows if getattr(w, field) is not None]
    total = sum(seconds for _, seconds in known)
    return round(sum(value * seconds for value, seconds in known) / total, 3) if total else None
