"""Long media cut into chunks: every sample in one of them, at its place, whatever the container."""

from __future__ import annotations

import itertools
import pathlib
import subprocess

import numpy as np
import pytest

from tests.conftest import SAMPLES, media_of, offset, pcm_of, write_channels, write_wav
from transforms.decode_audio import DecodeConfig, decode
from transforms.media.chunks import ChunkConfig, choose_cut_point, chunks_of, cut_region
from transforms.media.ffmpeg import Decoder
from transforms.media.ffmpeg_command import DecodeRequest, find_ffmpeg
from transforms.media.windows import WindowConfig
from transforms.records import SAMPLE_RATE_HZ, MediaChunk

CHUNKS = ChunkConfig(chunk_minutes=2)
SETTINGS = DecodeConfig(WindowConfig(max_window_s=8), chunks=CHUNKS)
LONG = SAMPLES / "five minutes.opus"
VIDEO = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=301", "-shortest", "-c:v", "mpeg4"]
JUMPED = {
    "a.wav": ["-ac", "2", "-ar", "44100"],
    "8k.wav": ["-ar", "8000"],
    "a.flac": ["-ar", "44100"],
    "a.aiff": ["-ar", "22050"],
    "v.mov": [*VIDEO, "-ar", "44100", "-c:a", "pcm_s16le"],
    "alac.m4a": ["-ar", "48000", "-c:a", "alac"],
}
JUMPED_LOSSY = {  # AAC fills bands with random noise
    "a.m4a": ["-ar", "44100", "-c:a", "aac"],
    "v.mp4": [*VIDEO, "-ar", "48000", "-c:a", "aac"],
    "fragments.mp4": ["-c:a", "aac", "-movflags", "empty_moov", "-frag_duration", "3000000"],
}
FROM_THE_START = {
    "vbr.mp3": ["-ar", "44100", "-q:a", "6", "-write_xing", "0"],
    "a.aac": ["-ar", "44100", "-c:a", "aac"],
    "a.opus": ["-c:a", "libopus"],
    "v.mkv": [*VIDEO, "-ar", "44100", "-c:a", "aac"],
    "v.ts": [*VIDEO, "-ar", "44100", "-c:a", "aac"],
    "v.avi": [*VIDEO, "-ar", "44100", "-c:a", "mp3"],
    "a.wma": ["-ar", "44100", "-c:a", "wmav2"],
}
# begins 92 ms late, no whole number of samples: other padding differs by some of them
LATE = {"a.wma"}
FORMATS = {**JUMPED, **JUMPED_LOSSY, **FROM_THE_START}


def made(folder: pathlib.Path, name: str) -> pathlib.Path:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", "-i", LONG, *FORMATS[name], folder / name]
    subprocess.run(command, check=True)
    return folder / name


def chunks(path: pathlib.Path, config: ChunkConfig = CHUNKS) -> list[MediaChunk]:
    return chunks_of(MediaChunk(media_of(path), chunks=0), config)


@pytest.mark.long(90)
@pytest.mark.parametrize("name", FORMATS)
def test_every_chunk_has_its_own_samples_at_their_place(name, tmp_path):
    path = made(tmp_path, name)
    audio, total_s = pcm_of(path), 0.0
    if name in LATE:
        with Decoder(f"file:{path}", "file", DecodeRequest(), 60) as decoder:
            whole = np.frombuffer(b"".join(decoder.pieces()), np.int16)
        assert abs(offset(whole[10 * SAMPLE_RATE_HZ : 20 * SAMPLE_RATE_HZ], audio, 10 * SAMPLE_RATE_HZ)) <= 16
        audio = whole
    cut = chunks(path)
    assert [chunk.chunk for chunk in cut] == list(range(2 if name == "vbr.mp3" else 3))  # whose length is a guess
    assert {chunk.seekable for chunk in cut} == {name not in FROM_THE_START}
    for chunk in cut:
        found = list(decode(chunk, SETTINGS))
        total_s += found[-1].audio.duration_s
        assert found[-1].audio.problems == ()
        assert len(found) > 5
        for window in found:
            pcm = np.frombuffer(window.pcm, np.int16)
            if name in JUMPED_LOSSY:
                assert offset(pcm, audio, window.start_sample) == 0
            else:
                assert np.array_equal(pcm, audio[window.start_sample : window.start_sample + len(pcm)])
    assert total_s == pytest.approx(len(audio) / SAMPLE_RATE_HZ, abs=0.002)


def test_windows_of_neighbours_do_not_overlap_and_none_is_missing(tmp_path):
    cut = [list(decode(chunk, SETTINGS)) for chunk in chunks(LONG)]
    alone = list(decode(MediaChunk(media_of(LONG)), SETTINGS))
    places = [(each.start_sample, each.start_sample + len(each.pcm) // 2) for part in cut for each in part]
    assert places == sorted(places)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))
    speech_s = sum(part[-1].audio.speech_s for part in cut)
    assert speech_s == pytest.approx(alone[-1].audio.speech_s, abs=0.3)


def test_a_seam_is_the_middle_of_the_longest_pause():
    speech = pcm_of(SAMPLES / "letter.flac")
    spoken = speech[: SAMPLE_RATE_HZ * 3]
    pause, short = np.zeros(SAMPLE_RATE_HZ * 2, np.int16), np.zeros(SAMPLE_RATE_HZ, np.int16)
    region = np.concatenate([spoken, short, spoken, pause, spoken])
    cut_point_s = choose_cut_point(region.tobytes()) / SAMPLE_RATE_HZ
    assert 7.0 < cut_point_s < 9.0


def test_nothing_has_its_seam_at_its_start():
    assert choose_cut_point(b"") == 0


@pytest.mark.parametrize(
    ("seconds", "expected"), [(60, 1), (179, 1), (181, 2), (299, 2), (301, 3), (419, 3), (421, 4)]
)
def test_the_last_chunk_is_between_half_as_long_and_half_as_long_again(seconds, expected, tmp_path):
    path = write_wav(tmp_path / "a.wav", np.zeros(seconds * 100, np.int16), 100)
    assert len(chunks(path)) == expected


def test_what_cannot_be_looked_into_is_one_chunk(tmp_path):
    (tmp_path / "a.mp3").write_bytes(bytes(range(256)) * 100)
    for path in (tmp_path / "a.mp3", tmp_path / "gone.mp3"):
        assert [(chunk.chunk, chunk.chunks) for chunk in chunks(path)] == [(0, 1)]


def test_committed_chunks_are_left_out():
    missing = chunks_of(MediaChunk(media_of(LONG), chunks=0, committed=("0-of-3", "2-of-3", "1-of-2")), CHUNKS)
    assert [(chunk.chunk, chunk.committed) for chunk in missing] == [(1, ())]


def test_only_media_large_enough_may_be_long():
    media = media_of(LONG)
    assert ChunkConfig(30).may_be_long(media._replace(size_bytes=8_000_000))
    assert not ChunkConfig(30).may_be_long(media._replace(size_bytes=7_000_000))
    assert not ChunkConfig(0).may_be_long(media._replace(size_bytes=10**12))


@pytest.mark.parametrize("minutes", [-1, 0.5, 1.99])
def test_chunks_shorter_than_the_search_for_a_seam_are_refused(minutes):
    with pytest.raises(ValueError, match="chunk_minutes"):
        ChunkConfig(minutes)


def test_audio_that_ends_before_a_chunk_begins_leaves_that_chunk_empty(tmp_path):
    """As of a file whose header claims more than there is."""
    path = write_wav(tmp_path / "a.wav", pcm_of(LONG)[: SAMPLE_RATE_HZ * 100])
    parts = [MediaChunk(media_of(path), number, 3, seekable) for number in (0, 1, 2) for seekable in (True, False)]
    found = [list(decode(chunk, SETTINGS))[-1] for chunk in parts]
    assert [round(each.audio.duration_s) for each in found] == [100, 100, 0, 0, 0, 0]
    assert [each.total for each in found[2:]] == [0, 0, 0, 0]


def test_each_channel_is_cut_at_the_same_seams(tmp_path):
    left = pcm_of(LONG)
    both = np.stack([left, np.roll(left, SAMPLE_RATE_HZ * 7)], axis=1)
    path = write_channels(tmp_path / "two.wav", both)
    settings = DecodeConfig(WindowConfig(max_window_s=8), channels="split", chunks=CHUNKS)
    for chunk in chunks(path):
        found = list(decode(chunk, settings))
        assert {window.channel for window in found} == {0, 1}
        for window in found:
            pcm = np.frombuffer(window.pcm, np.int16)
            start = window.start_sample
            assert np.array_equal(pcm, both[start : start + len(pcm), window.channel])


def test_the_seam_lies_around_its_nominal_place():
    first, last = cut_region(1, CHUNKS)
    assert (first, last) == (105 * SAMPLE_RATE_HZ, 135 * SAMPLE_RATE_HZ)
