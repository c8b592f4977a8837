"""PlanWork: every media goes on, with what earlier runs did of it."""

from __future__ import annotations

import pathlib

import apache_beam as beam
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from tests.conftest import media_of
from transforms.layers import Layers
from transforms.plan_work import PlanConfig, PlanWork, plan
from transforms.records import AudioFacts, ChunkTranscript, DeadLetter, MediaChunk

MEDIA = media_of(pathlib.Path("a.mp3"))
AUDIO = AudioFacts(1.0, 1.0, 16_000, 1, "mp3", 0.0, 0.0)
LETTER = DeadLetter(MEDIA, "DecodeAudio", "not_media", "Play it.")


@pytest.fixture
def layers(tmp_path):
    return Layers(str(tmp_path / "out"), asr="asr1", saved="saved1")


def transcribe(layers, media=MEDIA):
    layers.commit_chunk(ChunkTranscript(MediaChunk(media), AUDIO, ()))


def save(layers, media=MEDIA, complete=True):
    layers.commit_saved(media, ["a.srt"], 1.0, complete)


def planned(layers, media=MEDIA, **settings):
    """(transcribed, saved, code of the failure) as planned."""
    chunk = plan(media, layers, PlanConfig(**settings))
    assert (chunk.media, chunk.chunk, chunk.chunks) == (media, 0, 1)
    return chunk.transcribed, chunk.saved, chunk.failure and chunk.failure.code


def test_a_new_media_needs_everything(layers):
    assert planned(layers) == (False, False, None)


def test_a_transcribed_media_needs_its_files(layers):
    transcribe(layers)
    assert planned(layers) == (True, False, None)


def test_a_saved_media_needs_nothing(layers):
    transcribe(layers)
    save(layers)
    assert planned(layers) == (True, True, None)


def test_files_without_their_transcript_are_no_finished_media(layers):
    save(layers)
    assert planned(layers) == (False, False, None)


def test_a_media_whose_translation_may_still_be_had_is_not_finished(layers):
    transcribe(layers)
    save(layers, complete=False)
    assert planned(layers) == (True, False, None)


@pytest.mark.parametrize("field", ["name", "id"])
def test_a_media_that_is_called_otherwise_now_is_saved_again(layers, field):
    transcribe(layers)
    save(layers)
    assert planned(layers, MEDIA._replace(**{field: "other"})) == (True, False, None)


def test_a_media_with_other_content_needs_everything(layers):
    transcribe(layers)
    save(layers)
    layers.commit_dead(LETTER)
    assert planned(layers, MEDIA._replace(version="v2")) == (False, False, None)


def test_files_of_older_content_do_not_count_for_a_newer_transcript(layers):
    save(layers)
    newer = MEDIA._replace(version="v2")
    transcribe(layers, newer)
    assert planned(layers, newer) == (True, False, None)


def test_other_model_settings_need_everything_and_other_formats_only_the_files(layers, tmp_path):
    transcribe(layers)
    save(layers)
    assert planned(Layers(layers.output, asr="asr2", saved="saved2")) == (False, False, None)
    assert planned(Layers(layers.output, asr="asr1", saved="saved2")) == (True, False, None)


def test_what_failed_before_is_not_tried_again_unless_asked(layers):
    layers.commit_dead(LETTER)
    assert planned(layers) == (False, False, "not_media")
    assert planned(layers, retry_failed=True) == (False, False, None)
    assert planned(layers, overwrite=True) == (False, False, None)


def test_overwriting_counts_nothing_of_earlier_work(layers):
    transcribe(layers)
    save(layers)
    assert planned(layers, overwrite=True) == (False, False, None)


def test_retrying_what_failed_does_finished_media_no_second_time(layers):
    transcribe(layers)
    save(layers)
    assert planned(layers, retry_failed=True) == (True, True, None)


@pytest.mark.parametrize("settings", [{}, {"overwrite": True}, {"retry_failed": True}])
def test_a_media_that_could_not_be_listed_stays_failed(layers, settings):
    assert plan(LETTER, layers, PlanConfig(**settings)) == MediaChunk(MEDIA, failure=LETTER)


def test_every_media_passes_the_step_exactly_once(layers):
    media = [media_of(pathlib.Path(f"{number}.mp3")) for number in range(20)]
    transcribe(layers, media[3])
    found = [*media, LETTER]
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        chunks = pipeline | beam.Create(found) | PlanWork(layers, PlanConfig())
        told = chunks | beam.Map(lambda chunk: (chunk.media.id, chunk.transcribed, chunk.failure is not None))
        expected = [(each.id, each.id == "3.mp3", False) for each in media]
        assert_that(told, equal_to([*expected, ("a.mp3", False, True)]))
