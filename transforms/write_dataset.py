"""WriteDataset: MediaOutcome of every recording → the Parquet dataset, summary.json and report.html, from the layers.

    transcripts/00000-of-00001.parquet   one row per recording
    segments/00000-of-00001.parquet      one row per segment
    dead_letters/00000-of-00001.parquet  one row per recording that could not be done
    summary.json                         its figures
    report.html                          the same for people, with a few of the media

A recording's shard is a hash of its id, and rows are sorted inside a shard: the same layers give the same bytes. Only
the rows of one row group are held at a time. Shards of an earlier run with another count are removed at the end, and
so are the files of media that left the input.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.combiners import TupleCombineFn

from transforms.dataset import highlights
from transforms.dataset.highlights import Highlights, MergeHighlights
from transforms.dataset.report import RunInfo, report
from transforms.dataset.schema import TABLES, utf8
from transforms.dataset.summary import MergeSummaries, Summary, add, of_dead_letter, of_transcript, to_json
from transforms.dead_letters import MediaError, attempt
from transforms.dofns.base import StepDoFn
from transforms.dofns.figures import DATASET
from transforms.dofns.metrics import UNWATCHED, StepMetrics, Watch
from transforms.dofns.threads import map_in_threads
from transforms.records import DeadLetter, MediaChunk, MediaFile, MediaOutcome, Transcript
from transforms.storage import join
from transforms.storage.scratch import ScratchError, scratch_folder, writing_scratch
from transforms.storage.secrets import masked
from transforms.storage.texts import each_text
from transforms.work.ending import end_in_cluster
from transforms.work.exit_code import ExitCode
from transforms.work.lease import check_lease
from transforms.work.own_files import read_published, remove_departed
from transforms.work.store import LOST, WorkStore, file_of, json_bytes
from transforms.work.transcripts import Provenance, read_transcript

# beside the figures of the summary: who wrote, what was not there
SHARDS, NOT_LISTED = "_shards", ("_not_listed",)
# rows, a transcript with each of its segments: a few ten MB, however long the recording
ROW_GROUP = 20_000


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """The shape of the dataset, and what the summary and the report say of the run."""

    num_shards: int = 1
    about: tuple[tuple[str, Any], ...] = ()  # goes into summary.json as it is
    started_at: float = 0.0  # seconds since 1970
    options: tuple[tuple[str, str], ...] = ()  # those that are not as they come
    retry: str = ""  # the command that tries dead letters again
    audio_is_kept: bool = False
    keep_missing: bool = False  # media that left the input keep their files
    # figures of this run from when it first went over the recording
    before: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.num_shards <= 99_999:
            raise ValueError(f"num_shards is {self.num_shards}: choose from 1 to 99999")


@dataclasses.dataclass
class WriteDataset(beam.PTransform):
    """Write the shards, then, when all are there, what speaks of the whole. Gives the summary."""

    work: WorkStore
    provenance: Provenance
    config: DatasetConfig
    watch: Watch = UNWATCHED

    def expand(self, outcomes: beam.PCollection[MediaOutcome]) -> beam.PCollection[dict[str, Any]]:
        shards = self.config.num_shards
        return (
            outcomes
            | "KeyByShard" >> beam.Map(keyed_by_shard, shards).with_output_types(tuple[int, MediaOutcome])
            | "Shards" >> beam.GroupByKey()
            | "WriteShard" >> beam.ParDo(WriteShard(self.work, self.provenance, shards, self.watch))
            | "AddUp" >> beam.CombineGlobally(TupleCombineFn(MergeSummaries(), MergeHighlights())).without_defaults()
            | "Publish" >> beam.Map(publish, self.work, self.config)
        )


def keyed_by_shard(outcome: MediaOutcome, shards: int) -> tuple[int, MediaOutcome]:
    return int(outcome.media.media_id[:8], 16) % shards, outcome


class WriteShard(StepDoFn):
    """Writes shards, each counted row by row."""

    step = DATASET

    def __init__(self, work: WorkStore, provenance: Provenance, shards: int, watch: Watch) -> None:
        super().__init__(watch)
        self._work, self._provenance, self._shards = work, provenance, shards

    def process(self, keyed: tuple[int, Iterable[MediaOutcome]]) -> list[tuple[Summary, Highlights]]:
        with self._metrics.timed():
            return [write_shard(keyed, self._work, self._provenance, self._shards, self._metrics)]


def write_shard(
    keyed: tuple[int, Iterable[MediaOutcome]],
    work: WorkStore,
    provenance: Provenance,
    shards: int,
    metrics: StepMetrics,
) -> tuple[Summary, Highlights]:
    """Write one shard of each table, rows by id, and return its figures and what it has to show."""
    shard, outcomes = keyed
    summary, shown = Summary(), Highlights()
    check_lease(work)
    with ShardWriter(work, shard, shards) as writer:
        ordered = sorted(once(outcomes), key=lambda each: (each.media.id, each.media.media_id))
        for outcome, result in map_in_threads(lambda each: (each, read_outcome(each, work, provenance)), ordered):
            for name, table in TABLES.items():
                writer.add(name, table.rows(result))
            lost = isinstance(result, DeadLetter)
            metrics.count(elements_in=1, elements_out=1, failed=lost and not outcome.failed)
            if isinstance(result, DeadLetter):
                add(summary, of_dead_letter(result, outcome))
                summary[NOT_LISTED] += result.step == "CollectMedia"
                shown = highlights.merge(shown, highlights.of_dead_letter(result))
            else:
                add(summary, of_transcript(result, outcome))
                shown = highlights.merge(shown, highlights.of_transcript(result))
    summary[SHARDS, str(shard)] = 1
    return summary, shown


def once(outcomes: Iterable[MediaOutcome]) -> Iterable[MediaOutcome]:
    """One outcome for each recording: of a long one, two chunks may fail, or each find itself to be the last."""
    found: dict[str, MediaOutcome] = {}
    for outcome in outcomes:
        known = found.setdefault(outcome.media.media_id, outcome)
        if outcome.failed and not known.failed:
            found[outcome.media.media_id] = outcome
    return found.values()


def read_outcome(outcome: MediaOutcome, work: WorkStore, provenance: Provenance) -> Transcript | DeadLetter:
    """What the layers hold of a recording."""
    letter = work.dead_letter(outcome.media) if outcome.failed else None
    if letter:
        return letter
    chunk = MediaChunk(outcome.media, chunks=outcome.chunks)
    read = functools.partial(_read_whole, chunk, work, provenance)
    result = attempt(
        "WriteDataset", outcome.media, read, fatal=OSError
    )  # a store that is away is no recording's fault
    if isinstance(result, DeadLetter):
        work.commit_dead_letter(result)  # the dataset says it failed, so the layers must
    return result


def _read_whole(chunk: MediaChunk, work: WorkStore, provenance: Provenance) -> Transcript:
    """The transcript of a recording that is done: a translation that it does not have was damaged since."""
    transcript = read_transcript(chunk, work, provenance)
    if work.translation and transcript.segments and not transcript.translation_language:
        raise MediaError(LOST)
    return transcript


def publish(whole: tuple[Summary, Highlights], work: WorkStore, config: DatasetConfig) -> dict[str, Any]:
    """Leave exactly the shards of this run, and write what speaks of the whole, for machines and for people."""
    summary, shown = whole
    check_lease(work)
    _settle_shards(summary, work, config)
    departed = _settle_media(summary, work, config)
    figures = Summary({path: value for path, value in summary.items() if path[0] not in (SHARDS, *NOT_LISTED)})
    add(figures, Summary({("this_run", name): value for name, value in config.before}))
    says = {**dict(config.about), **work.skipped()}
    content = to_json(add(figures, departed), time.time() - config.started_at, says)
    work.store.put(join(work.output, "summary.json"), json_bytes(content, indent=1))
    store = work.store

    def kept_audio(media: MediaFile) -> str | None:
        name = file_of(media, "opus")
        return name if config.audio_is_kept and store.stat(join(work.output, name)) else None

    about = RunInfo(work.output, work.run, config.started_at, config.options, config.retry)
    page = report(content, shown, about, kept_audio).encode("utf-8", "backslashreplace")  # a name may be no UTF-8
    work.store.put(join(work.output, "report.html"), page)
    end_in_cluster(work, ExitCode.WITH_DEAD_LETTERS if content["dead_letters"] else ExitCode.DONE)
    return content


def _settle_shards(summary: Summary, work: WorkStore, config: DatasetConfig) -> None:
    """Fill the shards that got no media, and remove those of earlier runs."""
    written = {int(path[1]) for path in summary if path[0] == SHARDS}
    for shard in set(range(config.num_shards)) - written:
        with ShardWriter(work, shard, config.num_shards):
            pass
    expected = {
        shard_uri(work, table, shard, config.num_shards)
        for table, shard in itertools.product(TABLES, range(config.num_shards))
    }
    store, published = work.store, read_published(work)
    for table in TABLES:
        folder = join(store.canonical(work.output), table) + "/"
        for entry in store.list(folder):
            if published.owns_shard(entry.uri.removeprefix(folder)) and entry.uri not in expected:
                store.delete(entry.uri)


def _settle_media(summary: Summary, work: WorkStore, config: DatasetConfig) -> Summary:
    """Remove the files of media that left the input; gives the figures of it.

    A mount that is gone looks like media that left: where an input could not be listed whole, nothing is removed. Nor
    is it where the plan, which tells what the input held, is not whole.
    """
    if config.keep_missing or not work.run:
        return Summary()
    planned = {row.source: row.name for row in work.plan()}
    if summary[NOT_LISTED] or len(planned) < summary["media",]:
        left = work.list_saved().keys() - set(planned.values())
        return Summary({("this_run", "left_and_kept"): len(left)}) if left else Summary()
    removed = remove_departed(work, set(planned.values()))
    figures = {("this_run", "left"): removed.media, ("this_run", "files_removed"): removed.files}
    return Summary({path: number for path, number in figures.items() if number})


def shard_uri(work: WorkStore, table: str, shard: int, shards: int) -> str:
    return join(work.store.canonical(work.output), table, f"{shard:05}-of-{shards:05}.parquet")


class ShardWriter:
    """Writes one shard of each table to local files, and puts them in place when the block ends without an error."""

    def __init__(self, work: WorkStore, shard: int, shards: int) -> None:
        self._store = work.store
        self._target = {table: shard_uri(work, table, shard, shards) for table in TABLES}
        self._rows: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES}
        self._held = dict.fromkeys(TABLES, 0)  # rows, and segments inside them
        self._folder = scratch_folder()
        self._files = {table: pathlib.Path(self._folder.name, f"{table}.parquet") for table in TABLES}
        self._writers: dict[str, pq.ParquetWriter] = {}
        with self._writing():
            for table, (schema, _) in TABLES.items():
                self._writers[table] = pq.ParquetWriter(self._files[table], schema, compression="zstd")

    def __enter__(self) -> ShardWriter:
        return self

    def add(self, table: str, rows: list[dict[str, Any]]) -> None:
        self._rows[table] += each_text(masked(rows), utf8)
        self._held[table] += sum(1 + len(row.get("segments", ())) for row in rows)
        if self._held[table] >= ROW_GROUP:
            self._flush(table)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        with self._folder:
            if kind is not None:
                self._abandon()
                return
            for table in TABLES:
                self._flush(table)
                with self._writing():
                    self._writers[table].close()
                self._store.put_file(self._target[table], self._files[table])

    def _abandon(self) -> None:
        for writer in self._writers.values():
            # else each is closed when it is collected, and prints why it cannot be
            writer.is_open = False

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with writing_scratch():
                yield
        except ScratchError:
            self._abandon()
            raise

    def _flush(self, table: str) -> None:
        rows, self._rows[table], self._held[table] = self._rows[table], [], 0
        if rows:
            with self._writing():
                self._writers[table].write_table(pa.Table.from_pylist(rows, TABLES[table].schema))
