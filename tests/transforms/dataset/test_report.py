from __future__ import annotations

import html.parser
import re

import pytest

from tests.transforms.dataset.test_highlights import letter, media_file, of_all, transcript
from transforms.dataset import highlights, summary
from transforms.dataset.highlights import CUES, SAMPLE, WORST, Highlights
from transforms.dataset.report import RunInfo, clock, duration, player, report
from transforms.dead_letters import CODES
from transforms.records import MediaOutcome

LIMIT_BYTES = 500_000
VOID = {"meta", "link", "img", "br", "wbr", "source", "input", "hr"}
INLINE = {"code", "bdi", "wbr", "a"}


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its text; refuses what is not closed."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.texts, self._open = [], [], []
        self.feed(content)
        self.close()
        assert not self._open
        self.text = " ".join("".join(self.texts).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.texts.append("" if tag in INLINE else " ")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.texts.append(data)

    def of(self, *tags):
        return [attributes for tag, attributes in self.tags if tag in tags]


def made(told, letters=(), about=None, wall_s=100.0, **rest):
    """The page of these transcripts and letters, and the summary that it is made of."""
    figures = summary.Summary()
    for each in told:
        summary.add(figures, summary.of_transcript(each, MediaOutcome(each.media, False, True)))
    for each in letters:
        summary.add(figures, summary.of_dead_letter(each, MediaOutcome(each.media, True, True)))
    content = summary.to_json(figures, wall_s, {"model": "demo", "engine": "whisper"})
    parts = [*map(highlights.of_transcript, told), *map(highlights.of_dead_letter, letters)]
    return report(content, of_all(parts), about or RunInfo("/out"), **rest), content


def test_the_figures_are_those_of_the_summary():
    told = [transcript(n) for n in range(1200)] + [transcript(1200, status="partial", problems=2)]
    letters = [letter(2000 + n, "not_media") for n in range(7)] + [letter(3000, "missing")]
    text = Page(made(told, letters, wall_s=7206.0)[0]).text
    for figure in (
        "Media 1,209",
        "Done 1,201 1,200 ok, 1 partial",
        "Failed 8",
        "Audio 20.0 h",
        "Speech 10.0 h",
        "This run 2.0 h 1,201 media, 20.0 h of audio",
        "Real-time factor 0.1 10.0 × as fast as it plays",
        "hi 1,201 20.0 h 10.0 h 100.0 %",
        "under 5 min 1,201 100.0 %",
        "Model demo, engine whisper.",
    ):
        assert figure in text
    assert text.index("7 not_media") < text.index("1 missing")


def test_a_failure_says_what_to_do_with_examples_and_the_command_that_tries_again():
    about = RunInfo("/my out", retry="python -m beam_pipeline --input 'a b' --output '/my out' --retry_failed")
    text = Page(made([], [letter(n, "too_long") for n in range(9)], about)[0]).text
    assert CODES["too_long"].replace("`", "") in text
    assert "m000.mp3: last line" in text
    assert "m003.mp3" not in text
    assert about.retry in text
    assert "python -m beam_pipeline.failures --output '/my out'" in text


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>.mp3", '"><img src=x onerror=alert(1)>.mp3', "a&amp;b'.mp3"]
)
def test_names_texts_and_details_are_text_whatever_they_hold(name):
    media = media_file(0)._replace(id=name, uri=f"/in/{name}", name=name)
    told = transcript(0, texts=[name], media=media, problems=1)
    bad = letter(1, "not_media")._replace(media=media, detail=name)
    page = Page(made([told], [bad], RunInfo(f"/out/{name}", name, 0.0, ((f"--{name}", name),), name))[0])
    assert len(page.of("script")) == 1
    assert not page.of("img")
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert page.text.count(name) >= 6


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\u202egpj.3pm", "\\u202egpj.3pm"),
        ("a\x00\x1b\x9b.mp3", "a\\x00\\x1b\\x9b.mp3"),
        ("javascript:alert(1)//.mp3", "javascript:alert(1)//.mp3"),
        ("caf\udce9\ud800 {{ 7 * 7 }} {% x %}.mp3", "caf\\xe9\\ud800 {{ 7 * 7 }} {% x %}.mp3"),
        ("sentinel-of-the-page.mp3", "[hidden].mp3"),
    ],
)
def test_nothing_in_a_name_turns_hides_or_leaves(name, shown, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "sentinel-of-the-page")
    media = media_file(0)._replace(id=name, uri="/in/a.mp3", name="a")
    told = transcript(0, texts=["said"], media=media, problems=1)
    told = told._replace(problems=(told.problems[0]._replace(message=name),))
    bad = letter(1, "not_media")._replace(media=media, detail=name)
    content = made([told], [bad], RunInfo(f"/out/{name}", name, 0.0, (("--x", name),), name))[0]
    content.encode()
    assert not re.search("[\x00\x1b\x9b\u202e\ud800-\udfff]", content)
    assert Page(content).text.count(shown) >= 7
    assert {"audio", "source"} <= {tag for tag, attributes in Page(content).tags}
    assert [each["aria-label"] for each in Page(content).of("audio")] == [shown]


def test_marks_of_direction_stay_in_what_was_said():
    content = made([transcript(0, texts=["\u2067שלום\u2069 <b>\x1b"])])[0]
    assert ">\u2067שלום\u2069 &lt;b&gt;</p>" in content


def test_nothing_is_loaded_from_anywhere():
    page = Page(made([transcript(n) for n in range(30)], [letter(40, "missing")])[0])
    assert not page.of("link", "img", "iframe", "object")
    assert all("src" not in attributes for attributes in page.of("script"))
    assert {each["preload"] for each in page.of("audio", "video")} == {"none"}
    assert {each["href"] for each in page.of("a")} == {"summary.json", "run.json"}
    content = made([transcript(0)])[0]
    assert not re.search(r"https?://|url\(|@import", content)


def test_a_page_of_very_many_and_very_long_media_is_light():
    told = []
    for number in range(400):
        each = transcript(number, texts=["<&\"ख'" * 200] * 40, problems=50)
        told.append(each._replace(media=each.media._replace(id="ग" * 4000, uri="/in/" + "ह" * 80)))
    letters = [letter(n, code)._replace(detail="x" * 9000) for code in CODES for n in range(9)]
    page = made(told, letters)[0]
    assert 20_000 < len(page.encode()) < LIMIT_BYTES
    assert len(Page(page).of("article")) == WORST + SAMPLE


def test_each_text_says_its_language_and_its_translation_stands_beside_it():
    page = Page(made([transcript(0, texts=["नमस्ते"])])[0])
    spoken, translated = [each for each in page.of("p") if "lang" in each]
    assert (spoken["lang"], translated["lang"]) == ("hi", "en")
    assert spoken["dir"] == translated["dir"] == "auto"
    assert "0:00 नमस्ते नमस्ते in English" in page.text


def test_a_long_recording_shows_its_first_cues_and_says_how_many_there_are():
    page = Page(made([transcript(0, texts=["word"] * 50)])[0])
    assert [float(each["data-start"]) for each in page.of("li") if "data-start" in each] == list(range(CUES))
    assert f"and {50 - CUES} more cues" in page.text


def test_the_same_media_are_shown_in_whatever_order_they_come():
    told = [transcript(n, logprob=-n % 13 / 10) for n in range(60)]
    assert made(told)[0] == made(told[::-1])[0]


def test_a_run_without_a_transcript_and_one_with_nothing_said_are_pages_too():
    failed = Page(made([], [letter(0, "missing")])[0])
    assert "Done 0" in failed.text
    assert not failed.of("article")
    silent = transcript(0, texts=(), status="empty", language="", logprob=None)
    assert "Nothing was said in it." in Page(made([silent])[0]).text
    empty = summary.to_json(summary.Summary(), 1.0, {})
    assert "Media 0" in Page(report(empty, Highlights(), RunInfo("/out"))).text


@pytest.mark.parametrize(
    ("uri", "output", "link"),
    [
        ("/data/in/a b#1?.mp3", "/data/out", "../in/a%20b%231%3F.mp3"),
        ("/data/out/x.mp3", "/data/out", "x.mp3"),
        ("/data/out/javascript:alert(1).mp3", "/data/out", "javascript%3Aalert%281%29.mp3"),
        ("/data/हि.mp3", "/data/out", "../%E0%A4%B9%E0%A4%BF.mp3"),
        ("/data/\udcff.mp3", "/data/out", "../%FF.mp3"),
        ("/data/a b.mp3", "s3://bucket/out", "file:///data/a%20b.mp3"),
        ("https://example.org/talks/a.mp3", "gs://bucket/out", "https://example.org/talks/a.mp3"),
    ],
)
def test_a_player_plays_what_a_browser_can_reach(uri, output, link):
    assert player(media_file(0)._replace(uri=uri), output, None) == ([link], "")


def test_a_recording_in_a_bucket_is_played_from_the_audio_that_was_kept_or_the_page_says_why_not():
    media = media_file(0)._replace(uri="s3://bucket/in/a.mp4", name="a b")
    assert player(media, "s3://bucket/out", "media/a b.opus") == (["media/a%20b.opus"], "")
    links, silence = player(media, "s3://bucket/out", None)
    assert not links
    assert "s3://" in silence
    told = transcript(0, media=media)
    page = Page(made([told], about=RunInfo("s3://bucket/out"))[0])
    assert not page.of("audio", "video", "button")
    assert silence in page.text
    kept = Page(
        made([told], about=RunInfo("s3://bucket/out"), kept_audio=lambda media: f"media/{media.name}.opus")[0]
    )
    assert [each["src"] for each in kept.of("source")] == ["media/a%20b.opus"]


def test_video_gets_a_picture():
    told = transcript(0, media=media_file(0)._replace(uri="/in/a.MP4"))
    assert len(Page(made([told])[0]).of("video")) == 1


def test_no_signature_of_an_address_is_shown():
    signed = "https://user:word@store.example/a.mp3?X-Amz-Signature=abc"
    options = (("--input", f"{signed} b"),)
    page = made([], [letter(0, "missing")], RunInfo("/out", options=options, retry=f"run --input '{signed}' --x"))[0]
    assert "Signature" not in page
    assert "word@" not in page
    assert "https://store.example/a.mp3" in page


def test_lengths_and_places_are_written_for_people():
    assert [duration(seconds) for seconds in (0, 3.66, 59.9, 90, 3600, 5400, 7_200_000)] == [
        "0 s",
        "3.66 s",
        "59.9 s",
        "1.5 min",
        "1.0 h",
        "1.5 h",
        "2,000.0 h",
    ]
    assert [clock(seconds) for seconds in (0.9, 61, 3723.4)] == ["0:00", "1:01", "1:02:03"]
