"""PlanWork: MediaFile or DeadLetter → MediaChunk, saying what the layers already hold of it.

Every media goes on, also one with nothing left to do: it passes the same chain as a marker, so that the dataset
learns of it without a second path.
"""

from __future__ import annotations

import dataclasses

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.layers import Inventory, Layers, chunk_key, name_key, source_id
from transforms.progress import Ticker
from transforms.records import DeadLetter, MediaChunk, MediaFile, PlannedMedia

PLAN_ROWS = 10_000  # in one object of the plan: about a megabyte


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """What of the earlier work counts."""

    retry_failed: bool = False  # dead letters do not


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
    """Plans media one by one, tells the display how many there are, and keeps the plan for whoever asks later."""

    def __init__(self, layers: Layers, config: PlanConfig, progress: str) -> None:
        self._layers, self._config, self._progress = layers, config, progress

    def setup(self) -> None:
        self._ticker = Ticker(self._progress)
        self._inventory = self._layers.inventory()

    def start_bundle(self) -> None:
        self._rows: list[PlannedMedia] = []

    def process(self, found: MediaFile | DeadLetter) -> list[MediaChunk]:
        chunk = plan(found, self._layers, self._inventory, self._config)
        if not chunk.dead and chunk.failure is None and source_id(chunk.media) in self._inventory.dead:
            self._layers.forget_dead(chunk.media)  # until it is tried again it is neither done nor dead
        self._rows.append(planned(chunk, self._layers))
        if len(self._rows) >= PLAN_ROWS:
            self._keep()
        Metrics.counter("plan", "media").inc()
        self._ticker.tick(planned=1)
        return [chunk]

    def finish_bundle(self) -> None:
        self._keep()

    def _keep(self) -> None:
        if self._rows and self._layers.run:
            self._layers.commit_plan(self._rows)
        self._rows = []


def plan(found: MediaFile | DeadLetter, layers: Layers, inventory: Inventory, config: PlanConfig) -> MediaChunk:
    """What is missing of one media. The whole media is one chunk, read once from start to end.

    The names of what is committed tell; nothing is read.
    """
    if isinstance(found, DeadLetter):
        return MediaChunk(found.media, failure=found)
    chunk = MediaChunk(found)
    if not config.retry_failed and source_id(found) in inventory.dead:
        return chunk._replace(dead=True)
    if chunk_key(chunk) not in inventory.chunks:
        return chunk
    return chunk._replace(transcribed=True, saved=inventory.saved.get(name_key(found.name)) == (layers.state(found),))


def planned(chunk: MediaChunk, layers: Layers) -> PlannedMedia:
    """The row of the plan that tells of the chunk's media."""
    media, todo = chunk.media, not (chunk.saved or chunk.dead)
    return PlannedMedia(source_id(media), name_key(media.name), layers.state(media), media.size_bytes, todo)
