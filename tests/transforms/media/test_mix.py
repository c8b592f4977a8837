"""All channels in one, so that nothing is lost, and ordinary sound is what ffmpeg mixes."""

from __future__ import annotations

import pathlib
import subprocess
import wave

import imageio_ffmpeg
import numpy as np
import pytest

from tests.conftest import SAMPLES, pcm_of, write_channels
from transforms.media import ffmpeg, ffmpeg_command
from transforms.media.ffmpeg_command import DecodeRequest
from transforms.media.mix import mixed, one_of_many, one_of_two
from transforms.records import SAMPLE_RATE_HZ

PROGRAMS = [ffmpeg_command.find_ffmpeg(), imageio_ffmpeg.get_ffmpeg_exe()]
ORDINARY = {
    "mono.mp3": ["-ac", "1", "-ar", "44100"],
    "stereo.wav": ["-af", "pan=stereo|c0=c0|c1=0.6*c0", "-ar", "48000"],
    "floats.wav": ["-af", "pan=stereo|c0=0.2*c0|c1=c0", "-ar", "8000", "-c:a", "pcm_f32le"],
    "stereo.m4a": ["-af", "pan=stereo|c0=c0|c1=0.6*c0", "-ar", "44100"],
    "right.flac": ["-af", "pan=stereo|c1=c0", "-ar", "44100", "-sample_fmt", "s32"],
    "centre.ac3": ["-af", "pan=5.1|FC=c0|FL=0.1*c0", "-ar", "48000"],
    "behind.flac": ["-af", "pan=7.1|BL=c0", "-ar", "48000"],
}


def start_of(path: pathlib.Path):
    return lambda channels: ffmpeg.Decoder(f"file:{path}", "file", DecodeRequest(channels=channels), 60)


def mix_of(path: pathlib.Path) -> np.ndarray:
    with mixed(start_of(path)) as (_, blocks):
        return np.frombuffer(b"".join(blocks), np.int16)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return pcm_of(SAMPLES / "letter.flac")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_sound_is_what_ffmpeg_mixes_to_the_bit(name, program, monkeypatch, tmp_path):
    command = [
        PROGRAMS[0],
        "-nostdin",
        "-v",
        "error",
        "-i",
        SAMPLES / "letter.flac",
        *ORDINARY[name],
        tmp_path / name,
    ]
    subprocess.run(command, check=True)
    monkeypatch.setattr(ffmpeg_command, "find_ffmpeg", lambda: program)
    with start_of(tmp_path / name)(1) as decoder:
        alone = np.frombuffer(b"".join(decoder.blocks(SAMPLE_RATE_HZ)), np.int16)
    assert np.array_equal(mix_of(tmp_path / name), alone)
    assert len(alone) > 13 * SAMPLE_RATE_HZ


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("share", [1.0, 0.95])
def test_where_channels_cancel_the_left_one_is_taken(speech, share, program, monkeypatch, tmp_path):
    monkeypatch.setattr(ffmpeg_command, "find_ffmpeg", lambda: program)
    both = np.stack([speech, np.round(-share * speech)], axis=1).astype(np.int16)
    mix = mix_of(write_channels(tmp_path / "a.wav", both))
    differs = np.abs(mix.astype(int) - speech).reshape(-1) > 1
    assert differs.mean() < 0.1  # in seconds without speech there is nothing to tell by


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("channels", [4, 6, 10, 60])
def test_channels_that_stand_nowhere_are_mixed_as_loud_as_they_are(speech, channels, program, monkeypatch, tmp_path):
    monkeypatch.setattr(ffmpeg_command, "find_ffmpeg", lambda: program)
    spoken = speech[: 4 * SAMPLE_RATE_HZ]
    for name, gains in {"one": np.eye(channels)[3], "all": np.ones(channels)}.items():
        with wave.open(str(tmp_path / name), "wb") as out:  # says how many channels there are, and no more
            out.setparams((channels, 2, SAMPLE_RATE_HZ, len(spoken), "NONE", ""))
            out.writeframes(np.round(spoken[:, None] * gains).astype("<i2").tobytes())
        assert np.array_equal(mix_of(tmp_path / name), spoken)


def test_each_second_is_decided_by_itself():
    tone = np.round(10_000 * np.sin(np.arange(SAMPLE_RATE_HZ) / 5)).astype(np.int16)
    mix, left = np.concatenate([tone, tone // 100, tone]), np.concatenate([tone // 2, tone, tone])
    found = np.frombuffer(one_of_two(np.stack([mix, left], axis=1).tobytes()), np.int16)
    assert np.array_equal(found, np.concatenate([tone, tone, tone]))


def test_the_last_bits_decide_nothing():
    left = np.tile(np.array([1, -1], np.int16), SAMPLE_RATE_HZ)
    both = np.stack([np.zeros_like(left), left], axis=1)
    assert not np.frombuffer(one_of_two(both.tobytes()), np.int16).any()


def test_of_many_channels_that_cancel_the_loudest_is_taken():
    tone = np.round(8000 * np.sin(np.arange(SAMPLE_RATE_HZ) / 5)).astype(np.int16)
    sound = np.stack([tone, -tone, tone, -tone], axis=1)
    assert np.array_equal(np.frombuffer(one_of_many(sound.tobytes(), 4), np.int16), tone)


def test_a_block_that_ends_within_a_sample_of_all_channels_is_cut_there():
    assert one_of_two(bytes(7)) == bytes(2)
    assert one_of_many(bytes(16), 3) == bytes(4)
    assert one_of_many(b"", 3) == b""
