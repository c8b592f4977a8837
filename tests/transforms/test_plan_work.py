"""PlanWork: every recording goes on, with what earlier runs did of it."""

from __future__ import annotations

import dataclasses
import pathlib

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from tests.conftest import media_of
from transforms.plan_work import PlanConfig, PlanWork, plan
from transforms.records import AudioFacts, ChunkTranscript, DeadLetter, MediaChunk
from transforms.work.store import WorkStore, name_key, source_id

MEDIA = media_of(pathlib.Path("a.mp3"))
AUDIO = AudioFacts(1.0, 1.0, 16_000, 1, "mp3", 0.0, 0.0)
LETTER = DeadLetter(MEDIA, "DecodeAudio", "not_media", "Play it.")


@pytest.fixture
def work(tmp_path):
    return WorkStore(str(tmp_path / "out"), asr="asr1", saved="saved1")


def transcribe(work, media=MEDIA):
    work.commit_chunk(ChunkTranscript(MediaChunk(media), AUDIO, ()))


def save(work, media=MEDIA, complete=True):
    work.commit_saved(media, ["a.srt"], complete)


def planned(work, media=MEDIA, **settings):
    """(transcribed, saved, dead) as planned."""
    chunk = plan(media, work, work.list_now(), PlanConfig(**settings))
    assert (chunk.media, chunk.chunk, chunk.chunks, chunk.failure) == (media, 0, 1, None)
    return chunk.transcribed, chunk.saved, chunk.dead


def test_a_new_media_needs_everything(work):
    assert planned(work) == (False, False, False)


def test_a_transcribed_media_needs_its_files(work):
    transcribe(work)
    assert planned(work) == (True, False, False)


def test_a_saved_media_needs_nothing(work):
    transcribe(work)
    save(work)
    assert planned(work) == (True, True, False)


@pytest.mark.parametrize(
    ("there", "saved"), [(("srt",), True), (("srt", "txt"), True), ((), False), (("txt",), False)]
)
def test_a_recording_whose_files_somebody_deleted_needs_them_again(work, there, saved):
    transcribe(work)
    work.commit_saved(MEDIA, ["media/a.srt"], True)
    held = dataclasses.replace(work.list_now(), gaps={name_key(MEDIA.name): there})
    chunk = plan(MEDIA, work, held, PlanConfig())
    assert (chunk.transcribed, chunk.saved) == (True, saved)


def test_files_without_their_transcript_are_no_finished_media(work):
    save(work)
    assert planned(work) == (False, False, False)


def test_a_recording_whose_translation_may_still_be_had_is_not_finished(work):
    transcribe(work)
    save(work, complete=False)
    assert planned(work) == (True, False, False)


@pytest.mark.parametrize("field", ["name", "id"])
def test_a_recording_that_is_called_otherwise_now_is_saved_again(work, field):
    transcribe(work)
    save(work)
    assert planned(work, MEDIA._replace(**{field: "other"})) == (True, False, False)


def test_a_recording_with_other_content_needs_everything(work):
    transcribe(work)
    save(work)
    work.commit_dead_letter(LETTER)
    assert planned(work, MEDIA._replace(version="v2")) == (False, False, False)


def test_files_of_older_content_do_not_count_for_a_newer_transcript(work):
    save(work)
    newer = MEDIA._replace(version="v2")
    transcribe(work, newer)
    assert planned(work, newer) == (True, False, False)


def test_other_model_settings_need_everything_and_other_formats_only_the_files(work, tmp_path):
    transcribe(work)
    save(work)
    assert planned(WorkStore(work.output, asr="asr2", saved="saved2")) == (False, False, False)
    assert planned(WorkStore(work.output, asr="asr1", saved="saved2")) == (True, False, False)


def test_what_failed_before_is_not_tried_again_unless_asked(work):
    work.commit_dead_letter(LETTER)
    assert planned(work) == (False, False, True)
    assert planned(work, retry_failed=True) == (False, False, False)


def test_starting_anew_counts_nothing_of_earlier_work(work):
    transcribe(work)
    save(work)
    work.commit_dead_letter(LETTER)
    assert planned(work.in_generation(anew=True)) == (False, False, False)


def test_retrying_what_failed_does_finished_media_no_second_time(work):
    transcribe(work)
    save(work)
    assert planned(work, retry_failed=True) == (True, True, False)


@pytest.mark.parametrize("settings", [{}, {"retry_failed": True}])
def test_a_recording_that_could_not_be_listed_stays_failed(work, settings):
    assert plan(LETTER, work, work.list_now(), PlanConfig(**settings)) == MediaChunk(MEDIA, failure=LETTER)


def test_every_recording_passes_the_step_exactly_once(work):
    media = [media_of(pathlib.Path(f"{number}.mp3")) for number in range(20)]
    transcribe(work, media[3])
    found = [*media, LETTER]
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        chunks = pipeline | beam.Create(found) | PlanWork(work, PlanConfig())
        told = chunks | beam.Map(lambda chunk: (chunk.media.id, chunk.transcribed, chunk.failure is not None))
        expected = [(each.id, each.id == "3.mp3", False) for each in media]
        assert_that(told, equal_to([*expected, ("a.mp3", False, True)]))


@pytest.mark.parametrize("finished", [False, True])
def test_a_recording_that_is_tried_again_is_not_dead_until_it_failed_again(work, finished):
    if finished:
        transcribe(work)
        save(work)
    work.commit_dead_letter(LETTER)
    work = dataclasses.replace(work, run="run1")
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create([MEDIA]) | PlanWork(work, PlanConfig(retry_failed=True))
    assert work.list_now().dead == frozenset()


def test_the_plan_of_a_run_is_kept_with_what_was_done_before(work):
    other = MEDIA._replace(media_id="other", name="other", size_bytes=7)
    transcribe(work)
    save(work)
    work = dataclasses.replace(work, run="run1")
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        _ = pipeline | beam.Create([MEDIA, other]) | PlanWork(work, PlanConfig())
    assert {row.source: (row.todo, row.size_bytes) for row in work.plan()} == {
        source_id(MEDIA): (False, 0),
        source_id(other): (True, 7),
    }
