from __future__ import annotations

import pytest

from transforms.dead_letters import PROBLEMS
from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    MediaChunk,
    MediaFile,
    Problem,
    Segment,
    SpeechWindow,
    Verdict,
    WindowRecord,
    WindowTranscription,
)
from transforms.work.transcripts import (
    Provenance,
    assemble,
    in_order,
    main_language,
    window_record,
    with_texts,
    with_translations,
)

AUDIO = AudioFacts(20.0, 20.0, 44_100, 2, "aac", 15.0, 0.5)
CHUNK = MediaChunk(MediaFile("m", "a.mp4", "/a.mp4", "v"))


def seg(start, end, text="x", language="hi"):
    return Segment(start, end, text, language)


def record(number, start, end, language="hi", texts=None, problem=None, probability=0.9):
    return WindowRecord(number, start, end, language, probability, -0.2, 0.1, 0.5, texts or {}, problem)


def whole(windows, audio=AUDIO, target=""):
    return assemble([ChunkTranscript(CHUNK, audio, tuple(windows))], Provenance("whisper", "demo", target))


def test_the_language_is_the_one_spoken_longest_not_the_one_of_most_windows():
    spoken = {"transcribe": (seg(0, 1),)}
    windows = [
        record(0, 0, 2, "en", spoken),
        record(1, 2, 4, "en", spoken),
        record(2, 4, 10, "hi", spoken, None, 0.8),
    ]
    assert main_language(windows) == ("hi", 0.8)


def test_a_window_in_two_languages_votes_for_each_by_what_was_said_in_it():
    turned = record(0, 0, 10, "hi", {"transcribe": (seg(0, 6), seg(6, 10, language="en"))})
    english = record(1, 10, 13, "en", {"transcribe": (seg(10, 13, language="en"),)}, None, 0.8)
    assert main_language([turned]) == ("hi", 0.9)
    assert main_language([turned, english]) == ("en", 0.857)


def test_windows_in_which_nothing_was_said_have_no_vote():
    windows = [record(0, 0, 30, "cy", {"transcribe": ()}), record(1, 30, 31, "hi", {"transcribe": (seg(30, 31),)})]
    assert main_language(windows)[0] == "hi"
    assert main_language(windows[:1]) == ("", 0.0)


def test_segments_never_overlap_and_stay_in_order():
    ordered = in_order([seg(5, 9), seg(0, 6), seg(8, 8.5)])
    assert [(s.start, s.end) for s in ordered] == [(0, 5), (5, 8), (8, 8.5)]


def test_every_translated_segment_stands_with_the_one_that_it_overlaps_most():
    segments = [seg(0, 4, "a"), seg(4, 8, "b"), seg(20, 22, "c")]
    translated = [seg(0.2, 5, "A"), seg(5, 8, "B"), seg(8, 9, "B2"), seg(21, 30, "C")]
    assert [s.translation for s in with_translations(segments, translated)] == ["A", "B B2", "C"]
    assert with_translations([], translated) == ()


def test_a_segment_without_a_translation_has_none():
    assert [s.translation for s in with_translations([seg(0, 1), seg(50, 51)], [seg(0, 1, "A")])] == ["A", None]


def test_a_silent_media_is_empty_and_a_spoken_one_ok():
    assert whole([]).status == "empty"
    assert whole([record(0, 0, 2, texts={"transcribe": (seg(0, 1),)})]).status == "ok"


def test_a_window_that_no_engine_could_do_makes_the_transcript_partial():
    problem = Problem("window 1", "engine_failed", "boom")
    transcript = whole([record(0, 0, 2, texts={"transcribe": (seg(0, 1),)}), record(1, 2, 4, problem=problem)])
    assert (transcript.status, transcript.problems, transcript.text) == ("partial", (problem,), "x")


@pytest.mark.parametrize(("declared", "expected"), [(20.0, 1.0), (40.0, 0.5), (None, 1.0), (10.0, 1.0)])
def test_coverage_is_the_share_of_the_declared_length_of_a_damaged_media(declared, expected):
    damaged = AUDIO._replace(declared_s=declared, problems=(Problem("media", "truncated", "cut"),))
    assert whole([], damaged).coverage == expected
    assert whole([], AUDIO._replace(declared_s=declared)).coverage == 1.0


def test_the_models_own_translation_has_segments_of_its_own():
    texts = {"transcribe": (seg(0, 2, "एक दो"),), "translate": (seg(0, 1, "one", "en"), seg(1, 2, "two", "en"))}
    transcript = whole([record(0, 0, 2, texts=texts)], target="en")
    assert transcript.translation == "one two"
    assert [s.text for s in transcript.translated_segments] == ["one", "two"]
    assert transcript.segments[0].translation == "one two"


def test_a_cue_without_a_translation_is_a_problem_and_asked_for_again():
    transcript = whole([record(0, 0, 9, texts={"transcribe": (seg(0, 1, "क"), seg(2, 3, "ख"))})])
    partly = with_texts(transcript, ["k", None], "server broke", "en")
    assert (partly.status, partly.complete, partly.translation) == ("partial", False, "k")
    assert partly.problems == (Problem("cue 2", "translation_failed", "server broke"),)
    assert with_texts(transcript, ["k", "kh"], "", "en").complete


@pytest.mark.parametrize(
    ("code", "status", "where"),
    [
        ("repetition", "partial", "second 12.5"),
        ("too_dense", "partial", "second 12.5"),
        ("too_sparse", "partial", "second 12.5"),
        ("behind_end", "partial", "second 12.5"),
        ("low_confidence", "ok", "second 12.5"),
        ("token_limit", "partial", "window 3"),
        ("not_a_number", "partial", "window 3"),
    ],
)
def test_a_verdict_is_a_problem_at_its_place_and_tells_the_status(code, status, where):
    heard = WindowTranscription({"transcribe": (seg(0, 1),)}, "hi", 1.0, verdict=Verdict(code, "why"))
    window = SpeechWindow(CHUNK, 3, 200_000, b"")
    transcript = whole([window_record(window, 5.0, heard)])
    assert (transcript.status, transcript.problems) == (status, (Problem(where, code, "why"),))
    assert transcript.segments[0].start == 12.5
    assert code in PROBLEMS
