from __future__ import annotations

import itertools
import random

from transforms.dataset.highlights import (
    CUES,
    LETTERS,
    LONGEST,
    PROBLEMS,
    SAMPLE,
    WORST,
    Highlights,
    MergeHighlights,
    badness,
    merge,
    of_dead_letter,
    of_transcript,
)
from transforms.records import AudioFacts, DeadLetter, MediaFile, Problem, Segment, Transcript


def media_file(number):
    return MediaFile(
        f"{number * 7919:032x}"[::-1], f"m{number:03}.mp3", f"/in/m{number:03}.mp3", "v", name=f"m{number}"
    )


def transcript(number, logprob=-0.3, coverage=1.0, problems=0, windows=4, texts=("text",), **fields):
    segments = tuple(Segment(at, at + 1.0, text, "hi", f"{text} in English") for at, text in enumerate(texts))
    found = tuple(Problem(f"window {n}", "token_limit", "cut") for n in range(problems))
    made = Transcript(
        media_file(number), AudioFacts(60.0, None, 16_000, 1, "mp3", 30.0, 1.0), "hi", 0.9, segments, "ok", coverage,
        1.0, "whisper", "demo", windows, logprob, 0.01, "en", (), found,
    )  # fmt: skip
    return made._replace(**fields)


def letter(number, code):
    return DeadLetter(media_file(number), "DecodeAudio", code, "what to do", "first line\nlast line\n")


def of_all(parts):
    combine = MergeHighlights()
    total = combine.create_accumulator()
    for part in parts:
        total = combine.add_input(total, part)
    return combine.extract_output(total)


def ids(highlights):
    return [each.transcript.media.id for each in highlights]


def test_however_media_are_spread_over_shards_the_same_are_picked():
    parts = [of_transcript(transcript(n, logprob=-n % 17 / 10)) for n in range(200)]
    parts += [of_dead_letter(letter(n, code)) for n, code in enumerate(["missing", "not_media"] * 10)]
    expected = of_all(parts)
    for seed in range(5):
        random.Random(seed).shuffle(parts)
        shards = [of_all(parts[at::7]) for at in range(7)]
        assert MergeHighlights().merge_accumulators(shards) == expected


def test_what_is_held_does_not_grow_with_the_media():
    whole = of_all(of_transcript(transcript(n)) for n in range(1000))
    assert (len(whole.worst), len(whole.sample)) == (WORST, WORST + SAMPLE)
    worst, sample = whole.of(1000)
    assert (len(worst), len(sample)) == (WORST, SAMPLE)
    assert not set(ids(worst)) & set(ids(sample))


def test_the_worst_come_first_and_for_their_reasons():
    good, unsure, damaged, cut = (
        transcript(0, logprob=-0.1),
        transcript(1, logprob=-0.9),
        transcript(2, problems=4, logprob=-0.1),
        transcript(3, coverage=0.1, logprob=-0.1, problems=1),
    )
    ordered = [cut, damaged, unsure, good]
    for one, other in itertools.pairwise(ordered):
        assert badness(one) > badness(other)
    assert ids(of_all(map(of_transcript, ordered[::-1])).worst) == [each.media.id for each in ordered]


def test_a_recording_in_which_nothing_was_said_may_be_in_the_sample_and_is_never_among_the_worst():
    empty = of_transcript(transcript(0, texts=(), logprob=None, status="empty", language=""))
    assert (ids(empty.worst), ids(empty.sample)) == ([], ["m000.mp3"])


def test_of_few_media_most_are_the_sample():
    for media, worst in ((1, 0), (2, 0), (3, 1), (7, 2)):
        picked = of_all(of_transcript(transcript(n)) for n in range(media)).of(media)
        assert tuple(map(len, picked)) == (worst, media - worst)


def test_a_long_recording_is_held_with_its_first_cues_and_knows_how_many_there_are():
    whole = transcript(0, texts=["some words"] * 5000, problems=900)
    (held,) = of_transcript(whole).sample
    assert held.transcript.segments == whole.segments[:CUES]
    assert len(held.transcript.problems) == PROBLEMS
    assert (held.segments, held.problems) == (5000, 900)


def test_endless_texts_are_cut():
    (held,) = of_transcript(transcript(0, texts=["ख" * 10_000] * 30)).sample
    assert 0 < len(held.transcript.segments) < CUES
    assert all(len(cue.text) == len(cue.translation) == LONGEST for cue in held.transcript.segments)


def test_some_letters_of_each_code_are_kept_with_the_last_line_of_their_detail():
    kept = of_all(of_dead_letter(letter(n, code)) for code in ("not_media", "missing") for n in range(50)).letters
    assert [each.code for each in kept] == ["missing"] * LETTERS + ["not_media"] * LETTERS
    assert [each.media.id for each in kept[:LETTERS]] == ["m000.mp3", "m001.mp3", "m002.mp3"]
    assert {each.detail for each in kept} == {"last line"}


def test_nothing_merges_with_something():
    part = of_transcript(transcript(0))
    assert merge(Highlights(), part) == merge(part, Highlights()) == part
