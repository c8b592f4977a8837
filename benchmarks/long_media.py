"""Long media: peak memory of three hours against ten minutes, and how busy a model is kept by decoding ahead.

    python benchmarks/long_media.py

The media are the longest sample, repeated. For the second figure the model is a stand-in that sleeps, over all the
windows of a recording, as long as decoding that recording takes. Results with their date and hardware stand in
long_media.md.
"""

from __future__ import annotations

import pathlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Hashable, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.many_media import SAMPLE, figures
from runners.direct import direct_runner
from transforms.decode_audio import DecodeAudio, DecodeConfig, decode
from transforms.inputs.listing import list_input
from transforms.media.chunks import ChunkConfig
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.records import MediaChunk, MediaFile, SpeechWindow, WindowTranscription
from transforms.storage import Stores
from transforms.transcribe_speech import TranscribeSpeech
from transforms.work.store import WorkStore
from transforms.work.transcripts import Provenance

SHORT, LONG = 2, 36  # times five minutes
MEDIA_AT_ONCE = 6
BATCH = 8


class Sleeper:
    """A model that takes `seconds_per_s` of time for a second of audio, and hears nothing."""

    def __init__(self, seconds_per_s: float) -> None:
        self.seconds_per_s = seconds_per_s

    def key(self) -> Hashable:
        return self.seconds_per_s

    def load(self) -> Asleep:
        return Asleep(self.seconds_per_s)

    def batch_size(self) -> int:
        return BATCH


class Asleep:
    """Keeps the times at which it was busy."""

    busy: list[tuple[float, float]] = []  # noqa: RUF012 - one for the process, read when the job has ended
    adding = threading.Lock()

    def __init__(self, seconds_per_s: float) -> None:
        self.seconds_per_s = seconds_per_s

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[WindowTranscription]:
        started = time.monotonic()
        time.sleep(sum(window.duration_s for window in windows) * self.seconds_per_s)
        with self.adding:
            self.busy.append((started, time.monotonic()))
        return [WindowTranscription({"transcribe": ()}) for _ in windows]

    def release_memory(self) -> None:
        pass


def repeated(path: pathlib.Path, times: int) -> pathlib.Path:
    loop = ["-stream_loop", str(times - 1), "-i", str(SAMPLE), "-c", "copy", str(path)]
    subprocess.run([find_ffmpeg(), "-v", "error", "-y", *loop], check=True)
    return path


def memory(folder: pathlib.Path) -> None:
    """Print the peaks of whole jobs with the demo model."""
    peaks = {}
    for name, times, more in (
        ("10 min", SHORT, ()),
        ("3 h, one chunk", LONG, ("--chunk_minutes", "0")),
        ("3 h, 6 chunks", LONG, ()),
    ):
        (media := folder / name).mkdir()
        repeated(media / "a.opus", times)
        row = figures(media, folder / f"out {name}", *more)
        peaks[name] = row["peak_mb"]
        share = row["peak_mb"] / peaks["10 min"]
        print(f"{name:16} wall {row['wall_s']:7.1f} s  peak {row['peak_mb']:6.0f} MB  {share:5.2f}", flush=True)


def busy(folder: pathlib.Path) -> None:
    """Print the share of the time between the first window and the last that the stand-in worked."""
    for number in range(MEDIA_AT_ONCE):
        repeated(folder / f"{number}.opus", SHORT * 2)
    media = [found for found in list_input(str(folder), Stores()) if isinstance(found, MediaFile)]
    config = DecodeConfig(chunks=ChunkConfig(0))
    list(decode(MediaChunk(media[0]), config))  # loads the voice activity model
    started = time.monotonic()
    windows = list(decode(MediaChunk(media[0]), config))
    decode_s = time.monotonic() - started
    audio_s = sum(window.duration_s for window in windows)
    handler = Sleeper(decode_s / audio_s)
    work = WorkStore(str(folder / "out"), asr="a", saved="s")
    with beam.Pipeline(direct_runner(PipelineOptions([]))) as pipeline:
        _ = (
            pipeline
            | beam.Create([MediaChunk(each) for each in media])
            | DecodeAudio(work, config)
            | TranscribeSpeech(handler, work, Provenance("none", "none"))
        )
    times = Asleep.busy
    wall_s = max(end for _, end in times) - min(start for start, _ in times)
    share = sum(end - start for start, end in times) / wall_s
    print(f"{len(media)} media of {SHORT * 10} min, {decode_s:.2f} s of decoding each: the model is busy {share:.1%}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "busy").mkdir()
        busy(root / "busy")
        memory(root)


if __name__ == "__main__":
    main()
