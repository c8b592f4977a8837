"""Subtitles as two independent parsers read them: the same times, the same words."""

from __future__ import annotations

import re
import subprocess

import pysubs2
import pytest
import webvtt

from transforms.media.cues import cut_cues
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.media.subtitles import srt, vtt
from transforms.records import Segment

LONG_HINDI = "हमारे शिक्षक शाम को स्टेशन जाएँगे और रास्ते में बाज़ार से कपड़े, किताबें और अख़बार भी ख़रीदेंगे।"
SEGMENTS = [
    Segment(0.0, 1.25, "मुझे मंगलवार को पानी चाहिए।", "hi"),
    Segment(1.25, 7.9996, LONG_HINDI, "hi"),
    Segment(61.001, 62.5, "Will you come at two o'clock? - Yes, I will.", "en"),
    Segment(3599.999, 3601.0, "AT&T: 1 < 2, 3 > 2 & more", "en"),
    Segment(36_000.5, 36_001.0, "5", "en"),
]
MILLISECONDS = [
    (0, 1250),
    (1250, 8000),
    (61_001, 63_151),  # 43 characters are read in 2.15 s
    (3_599_999, 3_601_249),
    (36_000_500, 36_001_500),  # lengthened to a second
]
TEXTS = [segment.text for segment in SEGMENTS]
INVISIBLE = re.compile("[\u200e\u200f\u202b\u202c\u2060]")


def by_webvtt(path) -> list[tuple[int, int, str]]:
    # SubRip knows no escaping, but this parser takes "< 2, 3 >" for a tag
    if path.suffix == ".srt":
        cues = [(cue.start, cue.end, cue.raw_text) for cue in webvtt.from_srt(str(path))]
    else:
        cues = [(cue.start, cue.end, cue.text) for cue in webvtt.read(str(path))]
    return [(milliseconds(start), milliseconds(end), one_line(text, path)) for start, end, text in cues]


def by_pysubs2(path) -> list[tuple[int, int, str]]:
    return [(event.start, event.end, one_line(event.plaintext, path)) for event in pysubs2.load(str(path))]


def one_line(text: str, path) -> str:
    if path.suffix == ".vtt":
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return text.replace("\n", " ")


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
        "2\n00:00:01,250 --> 00:00:08,000\nहमारे शिक्षक शाम को स्टेशन जाएँगे और रास्ते में बाज़ार से कपड़े,\n"
        "किताबें और अख़बार भी ख़रीदेंगे।\n"
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
        cues = [(start, end, INVISIBLE.sub("", text)) for start, end, text in by_webvtt(tmp_path / f"a.{kind}")]
        assert cues == [(0, 1000, "from --> to"), (2000, 3000, "next")]


def test_without_segments_the_files_are_empty_but_valid(tmp_path):
    (tmp_path / "a.srt").write_text(srt([]))
    assert by_pysubs2(tmp_path / "a.srt") == [(0, 1, "")]
    assert [cue.raw_text for cue in webvtt.from_srt(str(tmp_path / "a.srt"))] in ([], [""])
    shown = [find_ffmpeg(), "-v", "error", "-i", tmp_path / "a.srt", "-f", "srt", "-"]
    assert subprocess.run(shown, capture_output=True, check=True).stdout == b""
    (tmp_path / "a.vtt").write_text(vtt([], "hi"))
    assert list(webvtt.read(str(tmp_path / "a.vtt"))) == []
    assert list(pysubs2.load(str(tmp_path / "a.vtt"))) == []


HOSTILE = [
    "from --> to",
    "<i>leaning</i> and <b>bold</b>, 1 < x and y > 2 & AT&T &amp; &lt;",
    "one\n\ntwo\r\nthree\rfour\u2028five",
    "12\nmonkeys",
    "1984",
    "\ufeffmarked\ufeff",
    "WEBVTT",
    "NOTE this",
    "9" * 60,
    "we met in the great hall of the people in\n1984",
    "GPS هو نظام، مفيد.",
    "a\x00b\x1bc\x9b",
    "\u202eturned\u2066 and left open",
    "half a letter \ud83d",
    "STYLE",
    "00:00:01,000 --> 00:00:02,000",
    "&lt;c.yellow&gt; &#60;",
]


def by_ffmpeg(path) -> list[tuple[int, int, str]]:
    """What its demuxer finds, written again and read by pysubs2."""
    kind = {".srt": "srt", ".vtt": "webvtt"}[path.suffix]
    again = path.with_name(f"again{path.suffix}")
    command = [find_ffmpeg(), "-v", "error", "-y", "-i", path, "-c", "copy", "-f", kind, again]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return by_pysubs2(again)


@pytest.mark.parametrize("read", [by_webvtt, by_pysubs2, by_ffmpeg])
@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_no_text_breaks_a_file_for_any_of_three_parsers(tmp_path, read, kind):
    segments = [Segment(number * 10, number * 10 + 6.5, text, "en") for number, text in enumerate(HOSTILE)]
    path = tmp_path / f"a.{kind}"
    path.write_text(srt(segments) if kind == "srt" else vtt(segments, "en"), encoding="utf-8")
    cues = cut_cues(segments)
    assert [(start, end, INVISIBLE.sub("", text)) for start, end, text in read(path)] == [
        (cue.start_ms, cue.end_ms, " ".join(cue.lines)) for cue in cues
    ]
    assert len(cues) > len(segments)


def test_no_cue_has_a_second_line_of_digits_since_parsers_take_it_for_a_number(tmp_path):
    for text in ("9" * 60, "we met in the great hall of the people in 1984"):
        (tmp_path / "a.srt").write_text(srt([Segment(0, 5, text, "en")]))
        assert "".join(event.plaintext for event in pysubs2.load(str(tmp_path / "a.srt"))).replace("\n", " ") in (
            text,
            text.replace(" 1984", "1984"),
        )


def test_a_line_from_right_to_left_is_embedded_in_srt():
    written = srt([Segment(0, 5, "GPS هو نظام.", "ar")])
    assert written == "1\n00:00:00,000 --> 00:00:05,000\n\u202bGPS هو نظام.\u202c\n"


@pytest.mark.parametrize(
    ("text", "language", "shown"),
    [
        ("مرحبا بكم!", "ar", "مرحبا بكم!"),  # its first letter tells it
        ("GPS هو نظام.", "ar", "\u200fGPS هو نظام."),
        ("سلمان ने कहा।", "hi", "\u200eسلمان ने कहा।"),
        ("मेरा नाम अली है।", "hi", "मेरा नाम अली है।"),
        ("1984!", "en", "1984!"),
    ],
)
def test_a_line_whose_first_letter_tells_a_wrong_direction_gets_a_mark_in_vtt(text, language, shown):
    assert vtt([Segment(0, 5, text, language)], "").endswith(f"\n{shown}\n")


def test_every_line_has_its_own_direction():
    first, second = "هذا نظام مفيد جدا لكل من يسافر!", "NASA استخدمته كثيرا."
    segments = [Segment(0, 5, f"{first} {second}", "ar")]
    assert vtt(segments, "").splitlines()[3:] == [first, f"\u200f{second}"]
    assert srt(segments).splitlines()[2:] == [f"\u202b{first}\u202c", f"\u202b{second}\u202c"]


def test_a_text_moves_no_subrip_cue_and_begins_none(tmp_path):
    texts = ["00:00:01,000 and 00:00:02,000", "1\n00:00:01,000 --> 00:00:02,000"]
    (tmp_path / "a.srt").write_text(srt([Segment(i, i + 1, text, "en") for i, text in enumerate(texts)]))
    for read in (by_pysubs2, by_ffmpeg, by_webvtt):
        assert [INVISIBLE.sub("", text) for _, _, text in read(tmp_path / "a.srt")] == [
            text.replace("\n", " ") for text in texts
        ]
    moved = srt([Segment(0, 1, r"{\an8}high {x \pos(1,1)} C:\no", "en")])
    assert moved.endswith("\n{\\\u2060an8}high {x \\\u2060pos(1,1)} C:\\no\n")  # players take {\an8} for a command


def test_no_text_turns_the_line_that_it_stands_in():
    for written in (
        srt([Segment(0, 5, "\u202eabc\u2066 d", "en")]),
        vtt([Segment(0, 5, "\u202eabc\u2066 d", "en")], ""),
    ):
        assert written.endswith("\nabc d\n")


def test_the_length_of_the_media_ends_the_last_cue():
    assert "--> 00:00:10,000" in srt([Segment(9.8, 9.9, "हाँ", "hi")], 10.0)
    assert "--> 00:00:10.000" in vtt([Segment(9.8, 9.9, "हाँ", "hi")], "hi", 10.0)


def test_the_same_segments_give_the_same_bytes():
    assert srt(SEGMENTS) == srt(SEGMENTS[::-1])
    assert vtt(SEGMENTS, "hi").encode() == vtt(tuple(SEGMENTS), "hi").encode()
