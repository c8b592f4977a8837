"""A part of a file is a recording of its own: its sound to the sample, its times from its own start."""

from __future__ import annotations

import pathlib
import subprocess

import numpy as np
import pytest

from tests.conftest import SAMPLES, media_of, offset, pcm_of
from transforms.dataset.schema import transcript_row
from transforms.dead_letters import MediaError
from transforms.decode_audio import DecodeConfig, decode
from transforms.media.chunks import ChunkConfig, chunks_of, length_s, opened, sound_of
from transforms.media.ffmpeg import convert
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.media.windows import WindowConfig
from transforms.plan_work import PlanConfig, plan
from transforms.records import SAMPLE_RATE_HZ, ChunkTranscript, MediaChunk, MediaFile
from transforms.work.store import WorkStore
from transforms.work.transcripts import Provenance, assemble

LONG = SAMPLES / "five minutes.opus"
CHUNKS = ChunkConfig(chunk_minutes=2)
SETTINGS = DecodeConfig(WindowConfig(max_window_s=8), chunks=CHUNKS)
KINDS = {
    "a.flac": ["-ar", "44100"],
    "a.wav": ["-ar", "8000"],
    "a.m4a": ["-c:a", "alac", "-ar", "48000"],
    "a.mp3": ["-ar", "22050"],
    "a.opus": ["-c", "copy"],
    "adpcm.wav": ["-c:a", "adpcm_ima_wav", "-ar", "16000"],
}
JUMPED = {"a.flac", "a.wav", "a.m4a"}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("files")
    for name, words in KINDS.items():
        subprocess.run([find_ffmpeg(), "-nostdin", "-v", "error", "-i", LONG, *words, folder / name], check=True)
    return folder


def chunks(media: MediaFile, config: ChunkConfig = CHUNKS) -> list[MediaChunk]:
    return chunks_of(MediaChunk(media, chunks=0), config)


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


@pytest.mark.parametrize(("start_s", "seconds"), [(0.0, 20.0), (12.3456, 20.1), (123.25, 60.0), (250.0, 0.0)])
@pytest.mark.parametrize("name", KINDS)
def test_a_part_is_that_stretch_to_the_sample(files, name, start_s, seconds):
    audio = pcm_of(files / name)[at(start_s) :]
    if seconds:
        audio = audio[: at(seconds)]
    [chunk] = chunks(media_of(files / name, start_s=start_s, length_s=seconds))
    assert chunk.seekable is (name in JUMPED)
    found = list(decode(chunk, SETTINGS))
    assert found[-1].audio.duration_s == pytest.approx(len(audio) / SAMPLE_RATE_HZ, abs=0.001)
    assert found[-1].audio.problems == ()
    assert len(found) > 1
    for window in found:
        pcm = np.frombuffer(window.pcm, np.int16)
        assert np.array_equal(pcm, audio[window.start_sample : window.start_sample + len(pcm)])


@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
def test_a_long_part_is_cut_into_chunks_as_a_file_of_its_own_is(files, name):
    media = media_of(files / name, start_s=20.5, length_s=250.0)
    audio = pcm_of(files / name)[at(20.5) : at(270.5)]
    cut = chunks(media)
    assert [(chunk.chunk, chunk.chunks) for chunk in cut] == [(0, 2), (1, 2)]
    windows = [list(decode(chunk, SETTINGS)) for chunk in cut]
    assert sum(each[-1].audio.duration_s for each in windows) == pytest.approx(250, abs=0.001)
    assert all(each[-1].audio.problems == () for each in windows)
    for window in [window for each in windows for window in each]:
        pcm = np.frombuffer(window.pcm, np.int16)
        assert np.array_equal(pcm, audio[window.start_sample : window.start_sample + len(pcm)])


def test_a_part_in_a_file_that_is_read_from_its_start_is_that_part_too(files):
    """As of a recording that nobody looked into."""
    media = media_of(files / "a.flac", start_s=200.0, length_s=15.0)
    assert [w.pcm for w in decode(MediaChunk(media), SETTINGS)] == [w.pcm for w in decode(chunks(media)[0], SETTINGS)]


def test_a_part_that_is_longer_than_the_file_says_what_is_missing(files):
    [chunk] = chunks(media_of(files / "a.flac", start_s=290.0, length_s=30.0))
    audio = list(decode(chunk, SETTINGS))[-1].audio
    assert audio.declared_s == 30
    assert audio.duration_s == pytest.approx(10, abs=0.1)
    assert [(problem.where, problem.code) for problem in audio.problems] == [("media", "truncated")]
    assert "of 30.0 seconds" in audio.problems[0].message


def test_a_length_that_was_rounded_up_is_no_problem(files):
    [chunk] = chunks(media_of(files / "a.flac", start_s=290.0, length_s=10.02))
    assert list(decode(chunk, SETTINGS))[-1].audio.problems == ()


@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
def test_a_part_behind_the_end_is_a_dead_letter(files, name):
    [chunk] = chunks(media_of(files / name, start_s=400.0, length_s=5.0))
    with pytest.raises(MediaError) as raised:
        list(decode(chunk, SETTINGS))
    assert raised.value.code == "no_such_part"


def test_a_damaged_rest_of_the_file_is_none_of_the_parts_business(tmp_path, files):
    content = (files / "a.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(content[: len(content) // 2])
    found = list(decode(MediaChunk(media_of(tmp_path / "half.flac", start_s=10.0, length_s=20.0)), SETTINGS))
    assert found[-1].audio.problems == ()
    assert found[-1].audio.duration_s == 20


@pytest.mark.parametrize(
    ("start_s", "part_s", "of_file_s", "expected"),
    [(0, 0, 100, 100), (10, 0, 100, 90), (10, 20, 100, 20), (90, 20, 100, 10), (10, 20, 0, 20), (200, 0, 100, 0)],
)
def test_how_long_a_part_is(start_s, part_s, of_file_s, expected):
    assert length_s(media_of(LONG, start_s=float(start_s), length_s=float(part_s)), of_file_s) == expected


def test_what_is_looked_into_before_it_is_decoded():
    media = media_of(LONG)._replace(size_bytes=10**9)
    assert ChunkConfig(30).is_looked_into(media)
    assert not ChunkConfig(30).is_looked_into(media._replace(length_s=600.0))  # no matter how long its file is
    assert ChunkConfig(30).is_looked_into(media._replace(length_s=2400.0))
    assert ChunkConfig(30).is_looked_into(media._replace(start_s=600.0, length_s=5.0))  # to jump there
    assert ChunkConfig(0).is_looked_into(media._replace(start_s=600.0, length_s=5.0))
    assert not ChunkConfig(0).is_looked_into(media)


def test_without_chunks_a_part_far_into_its_file_is_one_chunk_that_jumps(files, tmp_path):
    config = ChunkConfig(0)
    media = media_of(files / "a.flac", start_s=100.0)
    work = WorkStore(str(tmp_path), "asr", "saved")
    planned = plan(media, work, work.list_now(), PlanConfig(chunks=config))
    assert planned.chunks == 0
    assert [(each.chunk, each.chunks, each.seekable) for each in chunks_of(planned, config)] == [(0, 1, True)]


@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
def test_the_audio_that_is_kept_is_that_of_the_part(files, name, tmp_path):
    media = media_of(files / name, start_s=100.5, length_s=20.0)
    with opened(media, CHUNKS.stores) as source:
        convert(sound_of(media, source, CHUNKS), tmp_path / "a.opus", 60)
    kept, audio = pcm_of(tmp_path / "a.opus"), pcm_of(files / name)[at(100.5) : at(120.5)]
    assert abs(len(kept) - len(audio)) < at(0.05)
    loudest = max(0, int(np.argmax(np.abs(audio.astype(int)))) - at(2))
    assert abs(offset(kept[loudest : loudest + at(4)], audio, loudest)) <= 16  # 1 ms: Opus is not lossless


def test_a_part_that_is_not_there_keeps_no_audio(files, tmp_path):
    media = media_of(files / "a.mp3", start_s=400.0)
    with opened(media, CHUNKS.stores) as source, pytest.raises(MediaError) as raised:
        convert(sound_of(media, source, CHUNKS), tmp_path / "a.opus", 60)
    assert raised.value.code == "no_such_part"


@pytest.mark.parametrize(("start_s", "part_s", "offset_s"), [(0, 0, None), (0, 5, 0.0), (2.5, 0, 2.5)])
def test_the_dataset_says_where_the_part_is(start_s, part_s, offset_s):
    chunk = MediaChunk(media_of(SAMPLES / "letter.flac", start_s=float(start_s), length_s=float(part_s)))
    audio = list(decode(chunk, SETTINGS))[-1].audio
    transcript = assemble([ChunkTranscript(chunk, audio, ())], Provenance("whisper", "demo"))
    assert transcript_row(transcript)["offset_sec"] == offset_s
