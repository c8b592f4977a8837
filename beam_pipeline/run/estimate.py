"""What a run on Dataflow would take: hours of audio, workers, hours, and about what it costs."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import random
from typing import Any, NamedTuple

from runners.dataflow.machines import CPU_MACHINE, DISK_GB, PRICES_OF, Gpu, Machine
from transforms.dead_letters import MediaError
from transforms.media import ffmpeg
from transforms.media.chunks import ChunkConfig, length_s, opened
from transforms.records import MediaFile

# media looked into of each suffix: bytes an hour differ tenfold between suffixes, less inside one
SAMPLES = 5
START_H = 0.2  # a machine, its driver, an image of 15 GB and a model of 3
# hours of audio an hour on CPU_MACHINE, assumed for large-v3
CPU_SPEED = 1.0


class Extent:
    """Recordings that are left to do, with a sample of each suffix whose lengths are probed."""

    def __init__(self) -> None:
        self.media = 0
        self._bytes: collections.Counter[str] = collections.Counter()
        self._count: collections.Counter[str] = collections.Counter()
        self._kept: dict[str, list[MediaFile]] = {}
        self._chance = random.Random(0)

    def add(self, media: MediaFile) -> None:
        suffix = media.uri.rpartition(".")[2].lower()
        self.media += 1
        self._bytes[suffix] += media.size_bytes
        self._count[suffix] += 1
        kept = self._kept.setdefault(suffix, [])
        if len(kept) < SAMPLES:
            kept.append(media)
        elif (place := self._chance.randrange(self._count[suffix])) < SAMPLES:
            kept[place] = media

    def hours(self, config: ChunkConfig) -> tuple[float, int]:
        """Hours of audio, by those that were looked into, and how many those are."""
        total, looked = 0.0, 0
        for suffix, kept in self._kept.items():
            known = [(media.size_bytes, seconds) for media in kept if (seconds := _seconds(media, config)) > 0]
            looked += len(known)
            if known:
                size, seconds = map(sum, zip(*known, strict=True))
                total += self._bytes[suffix] * seconds / size / 3600
        return total, looked


def _seconds(media: MediaFile, config: ChunkConfig) -> float:
    """How long the recording says it is; 0 where it says nothing."""
    with contextlib.suppress(MediaError), opened(media, config.stores) as source:
        info = ffmpeg.probe(source.url, source.protocols, config.audio_track, config.decode_timeout_s)
        return length_s(media, info.said_s)
    return 0.0


class Estimate(NamedTuple):
    """What so much audio takes."""

    workers: int
    hours: float  # until done
    worker_hours: float
    usd: float


def estimate(audio_h: float, parts: int, most_workers: int, tasks: int, gpu: Gpu | None) -> Estimate:
    """What the audio takes on workers with this GPU, or on CPU_MACHINE without.

    Args:
        parts: chunks of media; no more workers than those can have work.
        tasks: 2 where the model both transcribes and translates.
    """
    workers = max(1, min(most_workers, parts))
    speed = gpu.speed if gpu else CPU_SPEED
    hours = START_H + audio_h * tasks / speed / workers
    price = _machine(gpu).usd_per_hour + (gpu.usd_per_hour if gpu else 0)
    return Estimate(workers, hours, hours * workers, hours * workers * price)


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What is left to do, and what it would take."""

    media: int  # left to do
    looked_into: int  # of them, those that say how long they are
    audio_h: float  # by those that were looked into
    took: Estimate
    tasks: int
    gpu: Gpu | None

    def figures(self) -> dict[str, Any]:
        """The figures for programs: of audio and machines None where nothing is known, or nothing is left."""
        kind, machine = self.gpu.accelerator if self.gpu else None, _machine(self.gpu).type
        info = {
            "audio_hours": round(self.audio_h, 3),
            "workers": self.took.workers,
            "hours": round(self.took.hours, 3),
            "worker_hours": round(self.took.worker_hours, 3),
            "usd": round(self.took.usd, 2),
        }
        figures = info if self.looked_into else dict.fromkeys(info)
        return {"media": self.media, "looked_into": self.looked_into, "machine": machine, "gpu": kind, **figures}

    def words(self) -> str:
        """The same for people, with all that it assumes."""
        if not self.looked_into:
            return (
                "estimate: nothing is left to do" if not self.media else "estimate: no recording says how long it is"
            )
        gpu, took = self.gpu, self.took
        on = f"{_machine(gpu).type} with {gpu.accelerator}" if gpu else _machine(gpu).type
        also = "" if self.tasks == 1 else f", for each of {self.tasks} tasks"
        return (
            f"estimate: {self.audio_h:.1f} h of audio ({self.looked_into} of {self.media} media were looked into)\n"
            f"  {took.workers} workers of {on}: {took.hours:.1f} h until done, {took.worker_hours:.1f} worker hours, "
            f"about {took.usd:.2f} USD\n"
            f"  assumed, not measured: {gpu.speed if gpu else CPU_SPEED:g} x real time a worker with Whisper large-v3"
            f"{also}; {START_H:g} h until a worker has started\n"
            f"  prices: Dataflow's list prices of us-central1 of {PRICES_OF}, with {DISK_GB} GB of disk; not in it "
            f"are {CPU_MACHINE.type} for planning and writing, network, storage, and an LLM's tokens"
        )


def foresee(extent: Extent, config: ChunkConfig, most_workers: int, tasks: int, gpu: Gpu | None) -> Outlook:
    """What all that is left would take on so many workers with this GPU, or on CPU_MACHINE without."""
    audio_h, looked = extent.hours(config)
    parts = extent.media
    if config.chunk_minutes:
        parts = max(parts, math.ceil(audio_h * 60 / config.chunk_minutes))
    return Outlook(extent.media, looked, audio_h, estimate(audio_h, parts, most_workers, tasks, gpu), tasks, gpu)


def _machine(gpu: Gpu | None) -> Machine:
    return gpu.machine if gpu else CPU_MACHINE
