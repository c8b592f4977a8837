from __future__ import annotations

import dataclasses
import json

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from tests.servers import ChatStub, upper
from transforms.records import AudioFacts, DeadLetter, MediaFile, MediaOutcome, Segment, Transcript
from transforms.translate_text import TranslateConfig, TranslateText, translate
from transforms.translators.openai import KEY_VARIABLE, OpenAISettings, OpenAITranslator
from transforms.work.store import WorkStore

AUDIO = AudioFacts(9.0, 9.0, 16_000, 1, "flac", 8.0, 0.1)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "x")


def transcript(name, *texts, language="hi"):
    segments = tuple(Segment(float(i), i + 1.0, text, language) for i, text in enumerate(texts))
    media = MediaFile(name, name, f"/{name}", "v", name=name)
    return Transcript(media, AUDIO, language, 1.0, segments, "ok", 1.0, 0.1, "whisper", "demo", 1)


def work_in(folder):
    return WorkStore(str(folder), "asr", "saved", "tr", "en")


def config_for(stub):
    return TranslateConfig(OpenAISettings("en", "stub", stub.url, timeout_s=5, max_retries=0), concurrency=3)


def ask(stub, given, folder):
    config = config_for(stub)
    return translate(given, OpenAITranslator(config.translator), work_in(folder), config).transcript


def test_what_is_translated_once_is_never_asked_for_again(tmp_path):
    with ChatStub(upper) as stub:
        first = ask(stub, transcript("a", "क", "ख"), tmp_path)
        again = ask(stub, transcript("a", "क", "ख"), tmp_path)
    assert first == again
    assert first.translation == "[क] [ख]"
    assert len(stub.asked) == 1


def test_a_later_run_asks_for_the_missing_cues_alone(tmp_path):
    def but_two(cues):
        return json.dumps({"cues": [cue for cue in json.loads(upper(cues))["cues"] if "ख" not in cue["text"]]})

    given = transcript("a", "क", "ख", "ग")
    with ChatStub(but_two) as stub:
        partly = ask(stub, given, tmp_path)
    assert (partly.status, partly.complete, partly.translation) == ("partial", False, "[क] [ग]")
    with ChatStub(upper) as stub:
        whole = ask(stub, given, tmp_path)
    assert [[cue["text"] for cue in cues] for cues in stub.asked] == [["ख"]]
    assert (whole.status, whole.translation) == ("ok", "[क] [ख] [ग]")


def test_segments_in_the_target_language_are_left_as_they_are(tmp_path):
    mixed = transcript("a", "क", "hello")
    mixed = mixed._replace(segments=(mixed.segments[0], mixed.segments[1]._replace(language="en")))
    with ChatStub(upper) as stub:
        assert ask(stub, mixed, tmp_path).translation == "[क] hello"
        assert ask(stub, transcript("b"), tmp_path).translation == ""
    assert [[cue["text"] for cue in cues] for cues in stub.asked] == [["क"]]


@pytest.mark.parametrize(("languages", "source"), [(("hi", "en"), "hi"), (("en", "hi"), "hi"), (("hi", "fr"), "")])
def test_the_translator_is_told_the_language_of_what_it_gets_not_of_the_media(
    monkeypatch, tmp_path, languages, source
):
    told = []
    monkeypatch.setattr(OpenAITranslator, "translate", lambda _, texts, spoken: (told.append(spoken) or [*texts], ""))
    given = transcript("a", "x", "y", language=languages[0])
    segments = [each._replace(language=code) for each, code in zip(given.segments, languages, strict=True)]
    config = TranslateConfig(OpenAISettings("en", "stub", "http://127.0.0.1:1"))
    translate(
        given._replace(segments=tuple(segments)), OpenAITranslator(config.translator), work_in(tmp_path), config
    )
    assert told == [source]


def test_every_recording_passes_once_while_several_are_translated_at_once(tmp_path):
    letter = DeadLetter(MediaFile("dead", "dead", "/dead", "v"), "DecodeAudio", "not_media", "")
    done = MediaOutcome(MediaFile("done", "done", "/done", "v"), failed=False, fresh=False)
    told = [letter, done, *(transcript(f"m{i}", f"t{i}") for i in range(20))]
    with ChatStub(upper) as stub, TestPipeline("FnApiRunner") as pipeline:
        step = TranslateText(work_in(tmp_path), config_for(stub))
        passed = pipeline | beam.Create(told) | step | beam.Map(lambda each: (each.media.id, _translation(each)))
        expected = [("dead", None), ("done", None), *((f"m{i}", f"[t{i}]") for i in range(20))]
        assert_that(passed, equal_to(expected))


def _translation(told):
    return told.translation if isinstance(told, Transcript) else None


def test_without_a_translator_transcripts_pass_untouched(tmp_path):
    with TestPipeline("FnApiRunner") as pipeline:
        step = TranslateText(dataclasses.replace(work_in(tmp_path), translation=""), TranslateConfig())
        assert_that(pipeline | beam.Create([transcript("a", "क")]) | step, equal_to([transcript("a", "क")]))
