"""PlanWork: MediaFile or DeadLetter → MediaChunk, saying what the layers already hold of it.

Every media goes on, also one with nothing left to do: it passes the same chain as a marker, so that the dataset
learns of it without a second path.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.layers import Layers
from transforms.progress import Ticker
from transforms.records import DeadLetter, MediaChunk, MediaFile


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """What of the earlier work counts."""

    overwrite: bool = False  # nothing does
    retry_failed: bool = False  # everything but dead letters


@dataclasses.dataclass
class PlanWork(beam.PTransform):
    """Look up what is missing of each media, and spread the media over the workers."""

    layers: Layers
    config: PlanConfig
    progress: str = ""

    def expand(self, found: beam.PCollection[MediaFile | DeadLetter]) -> beam.PCollection[MediaChunk]:
        return (
            found
            | "Plan" >> beam.ParDo(Plan(self.layers, self.config, self.progress)).with_output_types(MediaChunk)
            | "Spread" >> beam.Reshuffle()
        )


class Plan(beam.DoFn):
    """Plans media one by one and tells the display how many there are."""

    def __init__(self, layers: Layers, config: PlanConfig, progress: str) -> None:
        self._layers, self._config, self._progress = layers, config, progress

    def setup(self) -> None:
        self._ticker = Ticker(self._progress)

    def process(self, found: MediaFile | DeadLetter) -> list[MediaChunk]:
        chunk = plan(found, self._layers, self._config)
        Metrics.counter("plan", "media").inc()
        self._ticker.tick(planned=1)
        return [chunk]


def plan(found: MediaFile | DeadLetter, layers: Layers, config: PlanConfig) -> MediaChunk:
    """What is missing of one media. The whole media is one chunk, read once from start to end."""
    if isinstance(found, DeadLetter):
        return MediaChunk(found.media, failure=found)
    chunk = MediaChunk(found)
    if config.overwrite:
        return chunk
    if not config.retry_failed and (letter := layers.dead(found)):
        return chunk._replace(failure=letter)
    if not layers.has_chunk(chunk):
        return chunk
    entry = layers.saved_under(found.name)
    return chunk._replace(transcribed=True, saved=entry is not None and is_current(entry, found, layers))


def is_current(entry: dict[str, Any], media: MediaFile, layers: Layers) -> bool:
    """Whether the files under the media's name are its own, whole, of this content and of these options."""
    same = all(entry["media"][field] == getattr(media, field) for field in ("media_id", "version", "id"))
    return bool(same and entry["complete"] and entry["fingerprint"] == layers.saved)
