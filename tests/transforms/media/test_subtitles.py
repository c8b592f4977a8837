"""Subtitles as two independent parsers read them: the same times, the same words."""

from __future__ import annotations

import pysubs2
import pytest
import webvtt

from transforms.media.subtitles import LINE_CHARACTERS, srt, vtt, wrap
from transforms.records import Segment

LONG_HINDI = "हमारे शिक्षक शाम को स्टेशन जाएँगे और रास्ते में बाज़ार से कपड़े, किताबें और अख़बार भी ख़रीदेंगे।"
SEGMENTS = [
    Segment(0.0, 1.25, "मुझे मंगलवार को पानी चाहिए।", "hi"),
    Segment(1.25, 59.9996, LONG_HINDI, "hi"),
    Segment(61.001, 62.5, "Will you come at two o'clock? - Yes, I will.", "en"),
    Segment(3599.999, 3601.0, "AT&T: 1 < 2, 3 > 2 & more", "en"),
    Segment(36_000.5, 36_001.0, "5", "en"),
]
MILLISECONDS = [(0, 1250), (1250, 60_000), (61_001, 62_500), (3_599_999, 3_601_000), (36_000_500, 36_001_000)]
TEXTS = [segment.text for segment in SEGMENTS]


def by_webvtt(path) -> list[tuple[int, int, str]]:
    if path.suffix == ".srt":  # SubRip knows no escaping, but this parser takes "< 2, 3 >" for a tag
        cues = [(cue.start, cue.end, cue.raw_text) for cue in webvtt.from_srt(str(path))]
    else:
        cues = [(cue.start, cue.end, cue.text) for cue in webvtt.read(str(path))]
    return [(milliseconds(start), milliseconds(end), one_line(text)) for start, end, text in cues]


def by_pysubs2(path) -> list[tuple[int, int, str]]:
    return [(event.start, event.end, one_line(event.plaintext)) for event in pysubs2.load(str(path))]


def one_line(text: str) -> str:
    unescaped = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return unescaped.replace("\n", " ")


def milliseconds(clock: str) -> int:
    hours, minutes, seconds = clock.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000)


@pytest.mark.parametrize("read", [by_webvtt, by_pysubs2])
@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_two_parsers_read_the_times_and_the_words_that_were_written(tmp_path, read, kind):
    path = tmp_path / f"a.{kind}"
    path.write_text(srt(SEGMENTS) if kind == "srt" else vtt(SEGMENTS, "hi"), encoding="utf-8")
    assert read(path) == [(*times, text) for times, text in zip(MILLISECONDS, TEXTS, strict=True)]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_times_beyond_hundred_hours_and_blank_lines_in_text_survive(tmp_path, kind):
    segments = [Segment(360_000.25, 360_001, "one\n\ntwo\u2028\u2029three\x0b\x85four", "en")]
    path = tmp_path / f"a.{kind}"
    path.write_text(srt(segments) if kind == "srt" else vtt(segments, "en"), encoding="utf-8")
    assert by_pysubs2(path)[0][2] == "one two three four"
    assert ("100:00:00,250" if kind == "srt" else "100:00:00.250") in path.read_text()


def test_srt_numbers_its_cues_and_separates_them_by_one_blank_line():
    assert srt(SEGMENTS[:2]) == (
        "1\n00:00:00,000 --> 00:00:01,250\nमुझे मंगलवार को पानी चाहिए।\n\n"
        "2\n00:00:01,250 --> 00:01:00,000\n" + wrap(LONG_HINDI) + "\n"
    )


def test_vtt_says_its_language():
    assert vtt(SEGMENTS[:1], "hi") == (
        "WEBVTT\nLanguage: hi\n\n00:00:00.000 --> 00:00:01.250\nमुझे मंगलवार को पानी चाहिए।\n"
    )
    assert vtt(SEGMENTS[:1], "").startswith("WEBVTT\n\n00:")


def test_vtt_shows_markup_characters_as_they_are():
    written = vtt([Segment(0, 1, "<b>bold</b> &amp; --> {x}", "en")], "en")
    assert written.endswith("\n&lt;b&gt;bold&lt;/b&gt; &amp;amp; --&gt; {x}\n")


def test_an_arrow_in_the_text_starts_no_cue(tmp_path):
    segments = [Segment(0, 1, "from --> to", "en"), Segment(2, 3, "next", "en")]
    for kind, text in (("srt", srt(segments)), ("vtt", vtt(segments, "en"))):
        (tmp_path / f"a.{kind}").write_text(text)
        assert by_webvtt(tmp_path / f"a.{kind}") == [(0, 1000, "from --> to"), (2000, 3000, "next")]


def test_without_segments_the_files_are_empty_but_valid(tmp_path):
    assert srt([]) == ""
    (tmp_path / "a.vtt").write_text(vtt([], "hi"))
    assert list(webvtt.read(str(tmp_path / "a.vtt"))) == []
    assert list(pysubs2.load(str(tmp_path / "a.vtt"))) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("", []),
        ("  spaces \t and\nlines ", ["spaces and lines"]),
        ("x" * 60, ["x" * 60]),  # a word is never broken
        ("well-known " * 4, ["well-known well-known well-known", "well-known"]),
    ],
)
def test_text_is_wrapped_between_words(text, lines):
    assert wrap(text).split("\n") == (lines or [""])


def test_devanagari_is_wrapped_between_words_and_loses_none():
    lines = wrap(LONG_HINDI).split("\n")
    assert len(lines) > 1
    assert all(len(line) <= LINE_CHARACTERS for line in lines)
    assert " ".join(lines) == LONG_HINDI
