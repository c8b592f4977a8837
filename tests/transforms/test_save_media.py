from __future__ import annotations

import dataclasses
import errno
import json

import pysubs2
import pytest

from transforms.layers import UNFINISHED, Layers, name_key
from transforms.media.subtitles import WORDLESS
from transforms.records import AudioFacts, DeadLetter, MediaFile, MediaOutcome, Segment, Transcript
from transforms.save_media import SaveConfig
from transforms.save_media import save as save_after
from transforms.storage.local import LocalStore

AUDIO = AudioFacts(9.0, 9.0, 44_100, 2, "aac", 8.0, 0.1)
SEGMENTS = (Segment(0.5, 2.0, "नमस्ते", "hi", "Hello"), Segment(3.0, 4.25, "आप कैसे हैं?", "hi", "How are you?"))


def save(told, layers, config):
    """Save in a run that begins now."""
    return save_after(told, layers, config, layers.list_now())


def transcript(name="talks/a", **fields):
    media = MediaFile("1" * 32, "talks/a.mp4", "/in/talks/a.mp4", "v1", name=name)
    return Transcript(media, AUDIO, "hi", 1.0, SEGMENTS, "ok", 1.0, 0.1, "whisper", "demo", 1)._replace(**fields)


@pytest.fixture
def layers(tmp_path):
    return Layers(str(tmp_path / "out"), "asr", "saved")


def files(layers):
    import pathlib

    root = pathlib.Path(layers.output, "media")
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_media_gets_a_file_of_each_format_under_its_own_name(layers, tmp_path):
    outcome = save(transcript(), layers, SaveConfig())
    assert outcome == MediaOutcome(transcript().media, failed=False, fresh=True, audio_s=9.0)
    assert files(layers) == ["talks/a.json", "talks/a.srt", "talks/a.txt", "talks/a.vtt"]
    written = tmp_path / "out/media/talks"
    assert (written / "a.txt").read_text() == "नमस्ते\nआप कैसे हैं?\n"
    assert [(line.start, line.end, line.text) for line in pysubs2.load(str(written / "a.srt"))] == [
        (500, 2000, "नमस्ते"),
        (3000, 4250, "आप कैसे हैं?"),
    ]
    content = json.loads((written / "a.json").read_text())
    assert (content["transcription"], content["duration_sec"]) == ("नमस्ते आप कैसे हैं?", 9.0)


def test_a_translation_gets_files_with_its_language_in_the_name(layers, tmp_path):
    translated = tuple(Segment(s.start, s.end, s.translation, "en") for s in SEGMENTS)
    save(transcript(translation_language="en", translated_segments=translated), layers, SaveConfig(("srt",)))
    assert files(layers) == ["talks/a.en.srt", "talks/a.srt"]
    assert [line.text for line in pysubs2.load(str(tmp_path / "out/media/talks/a.en.srt"))] == [
        "Hello",
        "How are you?",
    ]


def test_saving_again_changes_nothing(layers, tmp_path):
    def content():
        return {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    save(transcript(), layers, SaveConfig())
    before = content()
    save(transcript(), layers, SaveConfig())
    assert content() == before


def test_other_options_leave_no_files_of_theirs_under_the_name(layers):
    save(transcript(), layers, SaveConfig())
    other = dataclasses.replace(layers, saved="other options")
    save(transcript(), other, SaveConfig(("srt",)))
    assert files(layers) == ["talks/a.srt"]
    state = other.state(transcript().media)
    assert layers.list_now().saved == {name_key("talks/a"): (state,)}
    assert layers.saved_files("talks/a", state)[1] == ["media/talks/a.srt"]


def test_a_media_that_is_joined_by_one_of_the_same_name_leaves_no_files_under_its_old_one(layers):
    plain, long = "talks/a", f"talks/a~{'1' * 8}"
    save(transcript(plain), layers, SaveConfig(("txt",)))
    save(transcript(long), layers, SaveConfig(("txt",)))
    assert files(layers) == [f"{long}.txt"]
    save(transcript(plain), layers, SaveConfig(("txt",)))  # alone again
    assert files(layers) == [f"{plain}.txt"]


def test_a_name_that_another_media_took_is_not_deleted_from_under_it(layers):
    save(transcript("talks/a"), layers, SaveConfig(("txt",)))
    other = transcript("talks/a").media._replace(media_id="2" * 32)
    save(transcript("talks/a", media=other), layers, SaveConfig(("txt",)))
    save(transcript("talks/b"), layers, SaveConfig(("txt",)))
    assert files(layers) == ["talks/a.txt", "talks/b.txt"]
    [state] = layers.list_now().saved[name_key("talks/a")]
    assert layers.saved_files("talks/a", state)[0] == "2" * 32


def test_a_name_that_cannot_be_is_a_dead_letter_and_a_full_disk_is_not(layers, tmp_path, monkeypatch):
    (tmp_path / "out/media/talks/a.srt").mkdir(parents=True)
    assert save(transcript(), layers, SaveConfig()).failed
    assert layers.dead(transcript().media).code == "cannot_save"

    def full(self, uri, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalStore, "put", full)
    with pytest.raises(OSError, match="No space left"):
        save(transcript("talks/b"), layers, SaveConfig())


def test_an_empty_transcript_gives_files_that_are_valid_and_empty(layers, tmp_path):
    save(transcript(segments=(), language="", status="empty"), layers, SaveConfig())
    assert (tmp_path / "out/media/talks/a.srt").read_text() == WORDLESS
    assert (tmp_path / "out/media/talks/a.vtt").read_text() == "WEBVTT\n"


def test_a_dead_letter_is_kept_and_forgotten_when_the_media_succeeds(layers):
    letter = DeadLetter(transcript().media, "DecodeAudio", "not_media", "fetch it again")
    assert save(letter, layers, SaveConfig()) == MediaOutcome(letter.media, failed=True, fresh=True)
    assert layers.dead(letter.media) == letter
    assert not save(letter, layers, SaveConfig()).fresh  # an earlier run's
    save(transcript(), layers, SaveConfig())
    assert layers.dead(letter.media) is None


def test_a_media_that_fails_leaves_no_files_of_what_it_was_before(layers, tmp_path):
    save(transcript(), layers, SaveConfig())
    assert list((tmp_path / "out" / "media").rglob("*.srt"))
    newer = transcript().media._replace(version="v2")
    save(DeadLetter(newer, "DecodeAudio", "not_media", "fetch it again"), layers, SaveConfig())
    assert not list((tmp_path / "out" / "media").rglob("*.*"))
    assert layers.list_now().saved == {}


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="unknown format ass"):
        SaveConfig(("srt", "ass"))


class Killed(BaseException):
    """Stands for kill -9: nothing that the code does can catch it."""


@pytest.mark.parametrize("after", range(6))
def test_a_save_with_other_options_that_is_killed_at_any_request_is_made_good(layers, monkeypatch, after):
    save(transcript(), layers, SaveConfig())
    other = dataclasses.replace(layers, saved="other options")

    def counted(method):
        def request(self, *words):
            nonlocal after
            if not after:
                raise Killed
            after -= 1
            return method(self, *words)

        return request

    with monkeypatch.context() as patch:
        for name in ("put", "delete"):
            patch.setattr(LocalStore, name, counted(getattr(LocalStore, name)))
        with pytest.raises(Killed):
            save(transcript(), other, SaveConfig(("srt",)))
    if after_first := layers.list_now().saved[name_key("talks/a")]:
        assert set(after_first) != {layers.state(transcript().media)} or files(layers) == [
            f"talks/a.{kind}" for kind in ("json", "srt", "txt", "vtt")
        ]
    save(transcript(), layers, SaveConfig(("json",)))  # the options before, without what the killed run wrote
    assert files(layers) == ["talks/a.json"]
    assert layers.list_now().saved == {name_key("talks/a"): (layers.state(transcript().media),)}
    assert UNFINISHED not in layers.list_now().saved[name_key("talks/a")]
