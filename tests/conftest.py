"""Fixtures that many tests share: real audio, the real demo model, the real command line."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterable

import numpy as np
import psutil
import pytest

from tests import runs
from transforms.decode_audio import DecodeConfig, decode
from transforms.engines.catalog import describe
from transforms.engines.handler import SpeechHandler
from transforms.engines.whisper import WhisperEngine
from transforms.engines.whisper_settings import WhisperSettings
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.media.windows import WindowConfig
from transforms.records import MediaChunk, MediaFile, SpeechWindow
from transforms.storage import Entry
from transforms.storage.local import LocalStore

pytest_plugins = [
    "tests.tiers",
    "tests.weights",
    "tests.s3",
    "tests.gcs",
    "tests.flink",
    "tests.dataflow",
    "tests.dags",
]

ROOT = pathlib.Path(__file__).parent.parent
SAMPLES = ROOT / "examples" / "media"
TRUTH = json.loads((SAMPLES / "truth.json").read_text())


def media_of(path: pathlib.Path, **fields: object) -> MediaFile:
    """The record of a local file, as CollectMedia would list it."""
    found = LocalStore().stat(str(path)) or Entry(str(path), 0, "v1")
    media = MediaFile(path.name, path.name, str(path), found.version, found.size_bytes, name=path.stem)
    return media._replace(**fields)


def write_wav(path: pathlib.Path, samples: np.ndarray, rate_hz: int = 16_000) -> pathlib.Path:
    """An int16 mono wav file."""
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, rate_hz, len(samples), "NONE", ""))
        out.writeframes(samples.astype("<i2").tobytes())
    return path


def pcm_of(path: pathlib.Path, channels: int = 1) -> np.ndarray:
    """int16[samples, channels] at 16 kHz, or int16[samples] of one channel, decoded without the code under test."""
    even = ["-vn", "-af", "aresample=async=1:first_pts=0", "-ac", str(channels), "-ar", "16000", "-f", "s16le", "-"]
    done = subprocess.run([find_ffmpeg(), "-v", "error", "-i", path, *even], capture_output=True, check=True)
    pcm = np.frombuffer(done.stdout, np.int16)
    return pcm.reshape(-1, channels) if channels > 1 else pcm


def write_channels(path: pathlib.Path, pcm: np.ndarray) -> pathlib.Path:
    """int16[samples, channels] at 16 kHz as a file of sound, of the kind that its suffix says."""
    raw = ["-f", "s16le", "-ar", "16000", "-ac", str(pcm.shape[1]), "-i", "-", path]
    subprocess.run([find_ffmpeg(), "-v", "error", "-y", *raw], input=pcm.tobytes(), check=True)
    return path


def offset(pcm: np.ndarray, audio: np.ndarray, at: int) -> int:
    """By how many samples the audio is off its place: the best of a search half a second around it."""
    reach = 16_000 // 2
    around = audio[max(0, at - reach) : at + len(pcm) + reach].astype(np.float64)
    size = 1 << (len(around) + len(pcm)).bit_length()
    spectrum = np.fft.rfft(around, size) * np.conj(np.fft.rfft(pcm.astype(np.float64), size))
    return int(np.argmax(np.fft.irfft(spectrum, size)[: len(around) - len(pcm) + 1])) - (at - max(0, at - reach))


def with_noise(folder: pathlib.Path, names: Iterable[str]) -> pathlib.Path:
    """The folder with those of the sample media, and a file of noise under the name of one."""
    for name in names:
        shutil.copy(SAMPLES / name, folder)
    (folder / "noise.mp3").write_bytes(bytes(range(256)) * 8)
    return folder


def windows_of(name: str, tasks: tuple[str, ...] = ("transcribe",)) -> list[SpeechWindow]:
    """The windows of one of the sample media, as the demo model takes them."""
    config = DecodeConfig(WindowConfig(max_window_s=describe("demo").longest_window_s), tasks)
    return list(decode(MediaChunk(media_of(SAMPLES / name)), config))


def demo_handler(**settings: object) -> SpeechHandler:
    return SpeechHandler(WhisperEngine(WhisperSettings(describe("demo"), device="cpu", **settings)))


def claim_in_another_process(folder):
    """A process that claims a GPU, prints which, and holds it until its input ends."""
    code = (
        "import pathlib, sys\nfrom transforms.engines.placement import claim_gpu\n"
        f"print(claim_gpu(2, pathlib.Path({str(folder)!r})), flush=True)\nsys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=environment)


@pytest.fixture
def children():
    """Gives the processes that the test has started and that are still there, without the servers of other tests."""
    before = set(psutil.Process().children(recursive=True))
    return lambda: [each for each in psutil.Process().children(recursive=True) if each not in before]


@pytest.fixture(scope="session")
def demo_model():
    """The demo model, loaded once."""
    return demo_handler().load_model()


@pytest.fixture
def cli(tmp_path):
    """Runs the command line in an empty folder, and tells how it ended."""

    def run(*words: object, env: dict[str, str] | None = None, timeout: float = 300) -> runs.Ran:
        environment = {"PYTHONPATH": str(ROOT), **(env or {})}
        return runs.run(*words, cwd=tmp_path, env=environment, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory):
    """The output folder of one run over all sample media, with translation by the model itself; made once for all
    workers of a test run, since it is most of a minute's work.
    """
    base = tmp_path_factory.getbasetemp()
    output = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sample_run" / "out"
    output.parent.mkdir(exist_ok=True)
    with (output.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            ran = runs.run(
                "--input", SAMPLES, "--output", output, "--model", "demo", "--translate_to", "en", timeout=600
            )
            assert ran.code == 0, ran.said
    return output
