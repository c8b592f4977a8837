"""PlanWork: MediaFile or DeadLetter → MediaChunk, one or more per recording, with what is committed already.

Every recording goes on, also one with nothing left to do: it passes the same chain as a marker, so that the dataset
learns of it without a second path. A long one goes on as the chunks that are missing of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import apache_beam as beam

from transforms.dofns.base import StepDoFn, ThreadedDoFn
from transforms.dofns.figures import PLAN
from transforms.dofns.metrics import UNWATCHED, Watch
from transforms.media.chunks import ChunkConfig, chunks_of
from transforms.records import DeadLetter, MediaChunk, MediaFile, PlannedMedia
from transforms.work.store import Inventory, WorkStore, complete, file_of, name_key, source_id, without_failed

PLAN_ROWS = 10_000  # in one object of the plan: about a megabyte
# media looked into at once: most of it is waiting for a store
PROBES = 8


@dataclasses.dataclass(frozen=True)
class PlanConfig:
    """How earlier work is reused."""

    retry_failed: bool = False  # dead letters do not, nor chunks that the model failed on
    chunks: ChunkConfig = dataclasses.field(default_factory=ChunkConfig)


@dataclasses.dataclass
class PlanWork(beam.PTransform):
    """Look up what is missing of each recording, and distribute recordings and chunks over the workers.

    The media are spread by the grouping in CollectMedia, so all workers look into long ones. A Reshuffle before Cut
    would undo the one behind it: Flink's batch optimizer takes what was rebalanced once for balanced ever after.
    """

    work: WorkStore
    config: PlanConfig
    watch: Watch = UNWATCHED

    def expand(self, found: beam.PCollection[MediaFile | DeadLetter]) -> beam.PCollection[MediaChunk]:
        return (
            found
            | "Plan" >> beam.ParDo(Plan(self.work, self.config, self.watch)).with_output_types(MediaChunk)
            | "Cut" >> beam.ParDo(Cut(self.work, self.config, self.watch)).with_output_types(MediaChunk)
            | "SpreadChunks" >> beam.Reshuffle()
        )


class Plan(StepDoFn):
    """Plans media one by one, counts them, and keeps the plan for whoever asks later."""

    step = PLAN

    def __init__(self, work: WorkStore, config: PlanConfig, watch: Watch) -> None:
        super().__init__(watch)
        self._work, self._config = work, config

    def setup(self) -> None:
        super().setup()
        self._inventory = self._work.inventory()

    def start_bundle(self) -> None:
        self._rows: list[PlannedMedia] = []

    def process(self, found: MediaFile | DeadLetter) -> list[MediaChunk]:
        with self._metrics.timed():
            chunk = self._planned(found)
        self._metrics.count(elements_in=1, media=1)
        return [chunk]

    def _planned(self, found: MediaFile | DeadLetter) -> MediaChunk:
        chunk = plan(found, self._work, self._inventory, self._config)
        if not chunk.dead and chunk.failure is None and source_id(chunk.media) in self._inventory.dead:
            self._work.delete_dead_letter(chunk.media)  # until it is tried again it is neither done nor dead
        if _is_retried(chunk.media, self._config) and not chunk.transcribed:
            self._work.delete_failed_chunks(chunk.media, self._inventory.chunks.get(source_id(chunk.media), ()))
        self._rows.append(planned(chunk, self._work))
        if len(self._rows) >= PLAN_ROWS:
            self._keep()
        return chunk

    def finish_bundle(self) -> None:
        self._keep()

    def _keep(self) -> None:
        if self._rows and self._work.run:
            self._work.commit_plan(self._rows)
        self._rows = []


class Cut(ThreadedDoFn[PlanConfig, MediaChunk, MediaChunk]):
    """Replaces a recording that may be long by its chunks, several looked into at once. All others pass."""

    step = PLAN

    def threads(self) -> int:
        return PROBES

    def process(self, chunk: MediaChunk) -> Iterator[MediaChunk]:
        if chunk.chunks:
            self._metrics.count(elements_out=1)
            yield chunk
            return
        self._threads.begin(chunks_of, chunk, self._config.chunks)
        yield from self._completed()

    def counted(self, chunk: MediaChunk) -> MediaChunk:
        self._metrics.count(elements_out=1, failed=chunk.failure is not None)
        return chunk


def plan(found: MediaFile | DeadLetter, work: WorkStore, inventory: Inventory, config: PlanConfig) -> MediaChunk:
    """What is missing of one recording, as one chunk; its number of chunks stays open where it is looked into first.

    The names of what is committed tell; nothing is read but the notes of media that lack a file.
    """
    if isinstance(found, DeadLetter):
        return MediaChunk(found.media, failure=found)
    chunk, source = MediaChunk(found), source_id(found)
    if not config.retry_failed and source in inventory.dead and source not in inventory.again:
        return chunk._replace(dead=True)
    committed = inventory.chunks.get(source, ())
    if _is_retried(found, config):
        committed = without_failed(committed)
    if chunks := complete(committed):
        saved = source not in inventory.again and _is_saved(found, work, inventory)
        return chunk._replace(chunks=chunks, transcribed=True, saved=saved)
    if config.chunks.is_looked_into(found):
        return chunk._replace(chunks=0, committed=committed)
    return chunk


def _is_saved(media: MediaFile, work: WorkStore, inventory: Inventory) -> bool:
    """Whether the recording's files are noted as done, and every one of them is there."""
    key, state = name_key(media.name), work.state(media)
    if inventory.saved.get(key) != (state,):
        return False
    there = inventory.gaps.get(key)
    if there is None:
        return True
    note = work.saved_note(key, state)
    return note is not None and set(note.files) <= {file_of(media, kind) for kind in there}


def _is_retried(media: MediaFile, config: PlanConfig) -> bool:
    """Whether chunks that the model failed on are tried again; a recording that left the input cannot be decoded."""
    return config.retry_failed and not media.kept


def planned(chunk: MediaChunk, work: WorkStore) -> PlannedMedia:
    """The row of the plan that tells of the chunk's media."""
    media, todo = chunk.media, not (chunk.saved or chunk.dead)
    return PlannedMedia(source_id(media), name_key(media.name), work.state(media), media.size_bytes, todo)
