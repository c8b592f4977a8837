from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import pathlib

import pysubs2
import pytest

from transforms.media.subtitles import WORDLESS
from transforms.records import AudioFacts, DeadLetter, MediaFile, MediaOutcome, Segment, Transcript
from transforms.save_media import SaveConfig
from transforms.save_media import save as save_after
from transforms.storage.local import LocalStore
from transforms.work.store import UNFINISHED, WorkStore, name_key

AUDIO = AudioFacts(9.0, 9.0, 44_100, 2, "aac", 8.0, 0.1)
SEGMENTS = (Segment(0.5, 2.0, "नमस्ते", "hi", "Hello"), Segment(3.0, 4.25, "आप कैसे हैं?", "hi", "How are you?"))


def save(result, work, config):
    """Save in a run that begins now."""
    return save_after(result, work, config, work.list_now())


def transcript(name="talks/a", **fields):
    media = MediaFile("1" * 32, "talks/a.mp4", "/in/talks/a.mp4", "v1", name=name)
    return Transcript(media, AUDIO, "hi", 1.0, SEGMENTS, "ok", 1.0, 0.1, "whisper", "demo", 1)._replace(**fields)


@pytest.fixture
def work(tmp_path):
    return WorkStore(str(tmp_path / "out"), "asr", "saved")


def files(work):
    root = pathlib.Path(work.output, "media")
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_recording_gets_a_file_of_each_format_under_its_own_name(work, tmp_path):
    outcome = save(transcript(), work, SaveConfig())
    assert outcome == MediaOutcome(transcript().media, failed=False, fresh=True, audio_s=9.0)
    assert files(work) == ["talks/a.json", "talks/a.srt", "talks/a.txt", "talks/a.vtt"]
    written = tmp_path / "out/media/talks"
    assert (written / "a.txt").read_text() == "नमस्ते\nआप कैसे हैं?\n"
    assert [(line.start, line.end, line.text) for line in pysubs2.load(str(written / "a.srt"))] == [
        (500, 2000, "नमस्ते"),
        (3000, 4250, "आप कैसे हैं?"),
    ]
    content = json.loads((written / "a.json").read_text())
    assert (content["transcription"], content["duration_sec"]) == ("नमस्ते आप कैसे हैं?", 9.0)


def test_a_translation_gets_files_with_its_language_in_the_name(work, tmp_path):
    translated = tuple(Segment(s.start, s.end, s.translation, "en") for s in SEGMENTS)
    save(transcript(translation_language="en", translated_segments=translated), work, SaveConfig(("srt",)))
    assert files(work) == ["talks/a.en.srt", "talks/a.srt"]
    assert [line.text for line in pysubs2.load(str(tmp_path / "out/media/talks/a.en.srt"))] == [
        "Hello",
        "How are you?",
    ]


def test_saving_again_changes_nothing(work, tmp_path):
    def content():
        return {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    save(transcript(), work, SaveConfig())
    before = content()
    save(transcript(), work, SaveConfig())
    assert content() == before


def test_other_options_leave_no_files_of_theirs_under_the_name(work):
    save(transcript(), work, SaveConfig())
    other = dataclasses.replace(work, saved="other options")
    save(transcript(), other, SaveConfig(("srt",)))
    assert files(work) == ["talks/a.srt"]
    state = other.state(transcript().media)
    assert work.list_now().saved == {name_key("talks/a"): (state,)}
    assert work.saved_note(name_key("talks/a"), state).files == ("media/talks/a.srt",)


def test_a_recording_that_is_joined_by_one_of_the_same_name_leaves_no_files_under_its_old_one(work):
    plain, long = "talks/a", f"talks/a~{'1' * 8}"
    save(transcript(plain), work, SaveConfig(("txt",)))
    save(transcript(long), work, SaveConfig(("txt",)))
    assert files(work) == [f"{long}.txt"]
    save(transcript(plain), work, SaveConfig(("txt",)))  # alone again
    assert files(work) == [f"{plain}.txt"]


def test_a_name_that_another_recording_took_is_not_deleted_from_under_it(work):
    save(transcript("talks/a"), work, SaveConfig(("txt",)))
    other = transcript("talks/a").media._replace(media_id="2" * 32)
    save(transcript("talks/a", media=other), work, SaveConfig(("txt",)))
    save(transcript("talks/b"), work, SaveConfig(("txt",)))
    assert files(work) == ["talks/a.txt", "talks/b.txt"]
    [state] = work.list_now().saved[name_key("talks/a")]
    assert work.saved_note(name_key("talks/a"), state).media.media_id == "2" * 32


def test_a_name_that_cannot_be_is_a_dead_letter_and_a_full_disk_is_not(work, tmp_path, monkeypatch):
    (tmp_path / "out/media/talks/a.srt").mkdir(parents=True)
    assert save(transcript(), work, SaveConfig()).failed
    assert work.dead_letter(transcript().media).code == "cannot_save"

    def full(self, uri, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalStore, "put_new", full)
    with pytest.raises(OSError, match="No space left"):
        save(transcript("talks/b"), work, SaveConfig())


def test_an_empty_transcript_gives_files_that_are_valid_and_empty(work, tmp_path):
    save(transcript(segments=(), language="", status="empty"), work, SaveConfig())
    assert (tmp_path / "out/media/talks/a.srt").read_text() == WORDLESS
    assert (tmp_path / "out/media/talks/a.vtt").read_text() == "WEBVTT\n"


def test_a_dead_letter_is_kept_and_forgotten_when_the_media_succeeds(work):
    letter = DeadLetter(transcript().media, "DecodeAudio", "not_media", "fetch it again")
    assert save(letter, work, SaveConfig()) == MediaOutcome(letter.media, failed=True, fresh=True)
    assert work.dead_letter(letter.media) == letter
    assert not save(letter, work, SaveConfig()).fresh  # an earlier run's
    save(transcript(), work, SaveConfig())
    assert work.dead_letter(letter.media) is None


def test_a_recording_that_fails_leaves_no_files_of_what_it_was_before(work, tmp_path):
    save(transcript(), work, SaveConfig())
    assert list((tmp_path / "out" / "media").rglob("*.srt"))
    newer = transcript().media._replace(version="v2")
    save(DeadLetter(newer, "DecodeAudio", "not_media", "fetch it again"), work, SaveConfig())
    assert not list((tmp_path / "out" / "media").rglob("*.*"))
    assert work.list_now().saved == {}


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="unknown format ass"):
        SaveConfig(("srt", "ass"))


class Killed(BaseException):
    """Stands for kill -9: nothing that the code does can catch it."""


@pytest.mark.parametrize("after", range(8))
def test_a_save_with_other_options_that_is_killed_at_any_request_is_made_good(work, monkeypatch, after):
    save(transcript(), work, SaveConfig())
    other = dataclasses.replace(work, saved="other options")

    def counted(method):
        def request(self, *words):
            nonlocal after
            if not after:
                raise Killed
            after -= 1
            return method(self, *words)

        return request

    with monkeypatch.context() as patch:
        for name in ("put", "put_new", "delete"):
            patch.setattr(LocalStore, name, counted(getattr(LocalStore, name)))
        with pytest.raises(Killed):
            save(transcript(), other, SaveConfig(("srt",)))
    if after_first := work.list_now().saved[name_key("talks/a")]:
        assert set(after_first) != {work.state(transcript().media)} or files(work) == [
            f"talks/a.{kind}" for kind in ("json", "srt", "txt", "vtt")
        ]
    save(transcript(), work, SaveConfig(("json",)))  # the options before, without what the killed run wrote
    assert files(work) == ["talks/a.json"]
    assert work.list_now().saved == {name_key("talks/a"): (work.state(transcript().media),)}
    assert UNFINISHED not in work.list_now().saved[name_key("talks/a")]


def test_a_file_that_no_run_wrote_stays_and_makes_a_dead_letter_and_nothing_else_is_left(work, tmp_path):
    mine = tmp_path / "out/media/talks/a.srt"
    mine.parent.mkdir(parents=True)
    mine.write_text("corrected by hand")
    assert save(transcript(), work, SaveConfig()).failed
    letter = work.dead_letter(transcript().media)
    assert (letter.code, letter.detail, letter.retryable) == ("not_ours", "media/talks/a.srt", True)
    assert mine.read_text() == "corrected by hand"
    assert files(work) == ["talks/a.srt"]
    assert work.list_now().saved == {}


def test_a_file_of_a_new_format_that_no_run_wrote_stays_though_others_are_ours(work, tmp_path):
    save(transcript(), work, SaveConfig(("txt",)))
    mine = tmp_path / "out/media/talks/a.srt"
    mine.write_text("corrected by hand")
    other = dataclasses.replace(work, saved="other options")
    assert save(transcript(), other, SaveConfig(("txt", "srt"))).failed
    assert mine.read_text() == "corrected by hand"
    assert files(work) == ["talks/a.srt"]


def test_a_file_with_our_very_content_is_taken_for_ours(work):
    save(transcript(), work, SaveConfig(("srt",)))
    for state in work.list_now().saved[name_key("talks/a")]:
        work.delete_saved_note(
            name_key("talks/a"), state
        )  # as a version left it that was killed before it noted them
    assert not save(transcript(), work, SaveConfig(("srt",))).failed


def test_what_a_try_of_this_run_left_is_ours_though_the_inventory_is_older(work):
    earlier = work.list_now()
    save_after(transcript(), work, SaveConfig(("txt",)), earlier)
    other = transcript(segments=SEGMENTS[:1])  # a server may answer otherwise
    assert not save_after(other, work, SaveConfig(("txt",)), earlier).failed
    assert pathlib.Path(work.output, "media/talks/a.txt").read_text() == "नमस्ते\n"


def test_a_file_that_came_while_a_save_was_killed_is_not_taken_for_ours(work, monkeypatch):
    def killed(self, uri, data):
        if "/media/" in uri:
            raise Killed
        return put_new(self, uri, data)

    put_new = LocalStore.put_new
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(LocalStore, "put_new", killed)
        save(transcript(), work, SaveConfig(("srt",)))
    mine = pathlib.Path(work.output, "media/talks/a.srt")
    mine.parent.mkdir(parents=True)
    mine.write_text("corrected by hand")
    assert save(transcript(), work, SaveConfig(("srt",))).failed
    assert mine.read_text() == "corrected by hand"


def test_only_what_is_missing_is_written_where_all_else_is_as_it_was(work):
    save(transcript(), work, SaveConfig())
    here = pathlib.Path(work.output, "media/talks")
    (here / "a.srt").unlink()
    (here / "a.txt").write_text("corrected by hand")
    save(transcript(), work, SaveConfig())
    assert files(work) == ["talks/a.json", "talks/a.srt", "talks/a.txt", "talks/a.vtt"]
    assert (here / "a.txt").read_text() == "corrected by hand"


def test_the_source_is_not_replaced_by_its_own_audio_whatever_is_noted(work, monkeypatch, tmp_path):
    """A link in the input may lead to what an earlier run wrote."""
    here = pathlib.Path(work.output, "media/talks/a.opus")
    here.parent.mkdir(parents=True)
    here.write_bytes(b"the only copy")
    (tmp_path / "in.opus").symlink_to(here)
    found = LocalStore().stat(str(tmp_path / "in.opus"))
    media = transcript().media._replace(uri=found.uri, version=found.version)
    work.commit_saved(media, ["media/talks/a.opus"], True)

    @contextlib.contextmanager
    def smaller(media, config):
        (tmp_path / "smaller").write_bytes(b"a small copy")
        yield {"media/talks/a.opus": tmp_path / "smaller"}

    monkeypatch.setattr("transforms.save_media.kept_audio", smaller)
    save(transcript(media=media), work, SaveConfig(("txt",)))
    assert here.read_bytes() == b"the only copy"


def test_a_translation_takes_the_place_of_a_recording_that_had_its_name(work):
    other = transcript().media._replace(media_id="2" * 32)
    save(transcript("talks/a.en", media=other._replace(name="talks/a.en")), work, SaveConfig(("txt",)))
    save(transcript(translation_language="en", translated_segments=SEGMENTS[:1]), work, SaveConfig(("txt",)))
    assert files(work) == ["talks/a.en.txt", "talks/a.txt"]
    assert pathlib.Path(work.output, "media/talks/a.en.txt").read_text() == "नमस्ते\n"
