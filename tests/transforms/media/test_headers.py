"""What headers promise; nothing where they make no sense."""

from __future__ import annotations

import struct
import subprocess

import pytest

from tests.conftest import SAMPLES
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.media.headers import HEAD_BYTES, READERS, DeclaredSize, declared_size

PICTURE = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=13", "-c:v", "flv1"]
MADE = {
    "a.wav": ("wav", []),
    "adpcm.wav": ("wav", ["-c:a", "adpcm_ima_wav"]),
    "rf64.wav": ("wav", ["-rf64", "always"]),
    "a.caf": ("caf", ["-c:a", "pcm_s16le"]),
    "a.wma": ("asf", ["-c:a", "wmav2"]),
    "a.avi": ("avi", [*PICTURE, "-c:a", "mp3"]),
    "a.flv": ("flv", [*PICTURE, "-c:a", "mp3"]),
}


@pytest.mark.parametrize("name", MADE)
def test_a_whole_file_promises_its_size_and_its_length(name, tmp_path):
    container, words = MADE[name]
    source = ["-i", SAMPLES / "letter.flac"]
    subprocess.run([find_ffmpeg(), "-v", "error", *source, *words, tmp_path / name], check=True)
    content = (tmp_path / name).read_bytes()
    promise = declared_size(content[:HEAD_BYTES], container)
    assert promise.size_bytes == pytest.approx(len(content), abs=300_000 if name == "a.avi" else 200)
    assert promise.size_bytes <= len(content)
    assert promise.length_s == pytest.approx(13.37, abs=0.5)


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000])
def test_the_size_that_a_stream_gives_promises_nothing(size):
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    head = b"RIFF" + struct.pack("<I", size) + b"WAVE" + form + b"data" + struct.pack("<I", size) + bytes(100)
    assert declared_size(head, "wav") == DeclaredSize()


@pytest.mark.parametrize("container", [*READERS, "mov,mp4"])
@pytest.mark.parametrize("head", [b"", b"RIFF", bytes(1000), b"\xff" * 1000, b"avih" + b"\xff" * 6])
def test_nonsense_promises_nothing(container, head):
    assert declared_size(head, container) == DeclaredSize()
