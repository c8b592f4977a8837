"""Which ffmpeg is used, and what of a user's words comes near its command line."""

from __future__ import annotations

import pytest

from tests.conftest import SAMPLES
from transforms.media.chunks import ChunkConfig
from transforms.media.ffmpeg import Decoder
from transforms.media.ffmpeg_command import DecodeRequest, ffmpeg_version, find_ffmpeg


@pytest.mark.parametrize("track", ["", "0", "12", "hi", "hin", "en-US", "zh-Hant-TW"])
def test_a_track_is_a_number_or_a_language(track):
    assert DecodeRequest(track).track == track


@pytest.mark.parametrize(
    "track",
    ["hin]anullsink;amovie=/other/file[b];[b", "-1", "0:v", "a b", "hin\n", "१", "m:language:hin", "0,1"],
)
def test_nothing_else_comes_near_a_filter(track):
    with pytest.raises(ValueError, match="give its number from 0, or its language"):
        DecodeRequest(track)
    with pytest.raises(ValueError, match="audio_track is"):
        ChunkConfig(audio_track=track)


@pytest.fixture
def fresh_search():
    find_ffmpeg.cache_clear()
    yield
    find_ffmpeg.cache_clear()


def test_an_ffmpeg_on_the_path_comes_first(tmp_path, monkeypatch, fresh_search):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_ffmpeg() == str(tmp_path / "ffmpeg")


def test_without_an_ffmpeg_on_the_path_the_shipped_one_decodes(tmp_path, monkeypatch, fresh_search):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE", raising=False)
    assert "imageio_ffmpeg" in find_ffmpeg()
    assert ffmpeg_version()
    with Decoder(f"file:{SAMPLES / 'letter.flac'}", "file", DecodeRequest(), 30) as decoder:
        assert sum(map(len, decoder.blocks(16_000))) > 13 * 32_000
