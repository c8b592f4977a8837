"""What the driver itself costs with a million media: listing, planning, Beam's records, the dataset, requests.

    python benchmarks/driver.py            (about half an hour; `--media 100000` takes three minutes)

No media is decoded and no model runs. Everything else is the project's own code, on a store that stands in for an
object store: it lists keys that lie sorted in a file, gives every recording the same small text, drops what is
written of a recording, and counts requests as S3 would, 1,000 keys in an answer to LIST. It answers at once, but in
one row: seconds are those of the processor, and what a network adds is worked out in docs/scaling.md. What decoding
costs a recording, and an S3 client a request, is measured for the sums there. Each row is a process of its own.
Results stand in driver.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.listing import moto
from runners.direct import direct_runner
from transforms.collect_media import CollectMedia
from transforms.dataset.summary import MergeSummaries, Summary, of_transcript
from transforms.decode_audio import DecodeConfig, decode
from transforms.dofns.figures import DATASET
from transforms.dofns.metrics import UNWATCHED, StepMetrics
from transforms.inputs.identity import named
from transforms.inputs.listing import Inputs, list_inputs, media_file
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.plan_work import PLAN_ROWS, PlanConfig, PlanWork, plan, planned
from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    MediaChunk,
    MediaFile,
    MediaOutcome,
    Segment,
    WindowRecord,
    to_plain,
)
from transforms.save_media import SaveConfig, SaveMedia
from transforms.storage import Entry, Stores
from transforms.storage.local import LocalStore
from transforms.storage.profiles import read_profiles
from transforms.storage.s3 import S3Store
from transforms.transcribe_speech import Joined, commit
from transforms.work.store import WorkStore, chunk_name, name_key, source_id
from transforms.work.transcripts import Provenance, assemble
from transforms.write_dataset import SHARDS, DatasetConfig, WriteDataset, keyed_by_shard, write_shard

SCHEME = "sim://"
INPUT, OUTPUT = f"{SCHEME}in", f"{SCHEME}out"
PAGE = 1000  # keys in one answer to LIST
PER_FOLDER = 1000
BYTES = 5_000_000  # of a recording: below what is looked into for its length
PROVENANCE = Provenance("whisper", "stand-in")
TEXT = "the market opens at nine and closes when the last bus has left"  # of a segment: 62 characters
# windows in a recording: a clip of 5 s, a recording of 10 minutes
SHORT, LONG = 1, 20
SEGMENTS = 5  # in each window of a long recording
S3_OBJECTS, LISTINGS = 1_000, 10
SAMPLE = pathlib.Path(__file__).parent.parent / "examples" / "media" / "five minutes.opus"
WAIT_MS = 30

requests: Counter[str] = Counter()
counting = threading.Lock()


def count(kind: str, number: int = 1) -> None:
    with counting:
        requests[kind] += number


@functools.cache
def facts(windows: int) -> tuple[AudioFacts, tuple[WindowRecord, ...]]:
    """What is committed of every recording."""
    length = 5.0 if windows == 1 else 30.0
    segments = 1 if windows == 1 else SEGMENTS

    def segment(window: int, number: int) -> Segment:
        start = round(window * length + number * length / segments, 3)
        return Segment(start, round(start + length / segments - 0.2, 3), TEXT, "en", None, None, None, -0.31, 0.01)

    def record(window: int) -> WindowRecord:
        texts = {"transcribe": tuple(segment(window, number) for number in range(segments))}
        times = (round(window * length, 3), round((window + 1) * length, 3))
        return WindowRecord(window, *times, "en", 0.98, -0.31, 0.01, 0.05, texts)

    audio = AudioFacts(length * windows, length * windows, 44_100, 2, "mp3", length * windows * 0.8, 0.02)
    return audio, tuple(map(record, range(windows)))


@functools.cache
def committed(windows: int) -> bytes:
    """An object of the asr layer."""
    media = media_file(Entry(f"{INPUT}/{name_of(0)}", BYTES, "1"), name_of(0))
    audio, records = facts(windows)
    return json.dumps({"media": to_plain(media), "audio": to_plain(audio), "windows": to_plain(records)}).encode()


@dataclasses.dataclass(frozen=True)
class Shelf:
    """A `Store` whose keys of media and of their layers lie in files, and whose other objects are local files."""

    root: pathlib.Path
    windows: int
    wait_ms: int  # until a request for one object is answered

    def canonical(self, uri: str) -> str:
        return uri.rstrip("/")

    def stat(self, uri: str) -> Entry | None:
        count("HEAD")
        found = LocalStore().stat(self._path(uri))
        return found and self._entry(found)

    def is_folder(self, uri: str) -> bool:
        count("LIST")
        return uri == INPUT

    def list(self, folder: str) -> Iterator[Entry]:
        keys = self._keys(folder)
        if keys is None:
            found = map(self._entry, LocalStore().list(self._path(folder)))
        elif keys.exists():
            found = _entries(keys, folder)
        else:
            found = iter(())
        count("LIST")
        for number, entry in enumerate(found, 1):
            yield entry
            if number % PAGE == 0:
                count("LIST")

    def read(self, uri: str) -> bytes:
        count("GET")
        time.sleep(self.wait_ms / 1000)
        return committed(self.windows) if "/_work/asr/" in uri else LocalStore().read(self._path(uri))

    def put(self, uri: str, data: bytes) -> None:
        count("PUT")
        count("bytes put", len(data))
        time.sleep(self.wait_ms / 1000)
        if not _of_one_media(uri):
            LocalStore().put(self._path(uri), data)

    def put_new(self, uri: str, data: bytes) -> bool:
        self.put(uri, data)
        return True

    def put_file(self, uri: str, path: pathlib.Path) -> None:
        count("PUT", max(1, -(-path.stat().st_size // (8 << 20))))  # and two more for an upload in parts
        count("bytes put", path.stat().st_size)
        LocalStore().put_file(self._path(uri), path)

    def delete(self, uri: str) -> None:
        count("DELETE")
        LocalStore().delete(self._path(uri))

    def _keys(self, folder: str) -> pathlib.Path | None:
        """The file of the keys below a folder, None where the folder is one of local files."""
        if folder.startswith(INPUT):
            return self.root / "in"
        layer = folder.removeprefix(f"{OUTPUT}/_work/").split("/")[0]
        return self.root / layer if layer in ("asr", "saved", "dead") else None

    def _path(self, uri: str) -> str:
        return f"{self.root}/objects/{uri.removeprefix(SCHEME)}"

    def _entry(self, entry: Entry) -> Entry:
        return entry._replace(uri=SCHEME + entry.uri.removeprefix(f"{self.root}/objects/"))


def _entries(keys: pathlib.Path, folder: str) -> Iterator[Entry]:
    base, size = folder.rstrip("/"), BYTES if keys.name == "in" else 1
    with keys.open() as lines:
        for line in lines:
            yield Entry(f"{base}/{line.rstrip()}", size, "1")


def _of_one_media(uri: str) -> bool:
    return any(f"/{layer}/" in uri for layer in ("asr", "saved", "dead", "out/media"))


@dataclasses.dataclass(frozen=True)
class Shelves(Stores):
    """Finds the stand-in under its own scheme, and every other store as ever."""

    root: str = ""
    windows: int = SHORT
    wait_ms: int = 0

    def serving(self, uri: str) -> Any:
        if uri.startswith(SCHEME):
            return Shelf(pathlib.Path(self.root), self.windows, self.wait_ms)
        return super().serving(uri)


def name_of(number: int) -> str:
    return f"{number // PER_FOLDER:06}/clip {number:09}.mp3"


def work_at(root: str, windows: int = SHORT, wait_ms: int = 0) -> WorkStore:
    stores = Shelves(root=root, windows=windows, wait_ms=wait_ms)
    return WorkStore(OUTPUT, "a" * 12, "b" * 12, stores=stores, run="simulated")


def inputs_at(root: str) -> Inputs:
    return Inputs((INPUT,), Shelves(root=root))


def all_media(root: str) -> Iterator[MediaFile]:
    """The media as listed, with the names that CollectMedia gives each here, where no two share one."""
    for found in list_inputs(b"", inputs_at(root)):
        assert isinstance(found, MediaFile)
        yield found._replace(name=found.id.rpartition(".")[0])


def make_keys(root: pathlib.Path, media: int, done: bool) -> None:
    """Write the keys of the media, and of the layers where they are all done."""
    root.mkdir()
    (root / "in").write_text("".join(f"{name_of(number)}\n" for number in range(media)))
    if not done:
        return
    work, chunk = work_at(str(root)), chunk_name(MediaChunk(media_file(Entry("", 0, ""), "")))
    with (root / "asr.new").open("w") as asr, (root / "saved.new").open("w") as saved:
        for each in all_media(str(root)):
            asr.write(f"{source_id(each)}/{chunk}.json\n")
            saved.write(f"{name_key(each.name)}/{work.state(each)}.json\n")
    for layer in ("asr", "saved"):
        in_order = {**os.environ, "LC_ALL": "C"}
        subprocess.run(["sort", "-o", root / layer, root / f"{layer}.new"], env=in_order, check=True)
        (root / f"{layer}.new").unlink()


# What is measured: each takes the folder of the keys, and gives how many records went by.


def listing(root: str) -> int:
    """CollectMedia's listing, record by record, nothing held."""
    return sum(1 for _ in list_inputs(b"", inputs_at(root)))


def naming(root: str) -> int:
    """The same, each once and with its name, in the memory of one process: what --dry_run does."""
    return sum(1 for _ in named(list_inputs(b"", inputs_at(root))))


def inventory(root: str) -> int:
    """What every process that plans or saves holds."""
    return len(work_at(root).inventory().saved)


def planning(root: str) -> int:
    """`plan` for each recording; the inventory is part of it."""
    work, config = work_at(root), PlanConfig()
    held = work.inventory()
    return sum(plan(media, work, held, config).saved for media in all_media(root))


def graph(root: str, windows: int = SHORT, wait_ms: int = 0) -> int:
    """The job on the direct runner, but for decoding, the model and translation."""
    work, options = work_at(root, windows, wait_ms), PipelineOptions([])
    pipeline = beam.Pipeline(runner=direct_runner(options), options=options)
    _ = (
        pipeline
        | "CollectMedia" >> CollectMedia(inputs_at(root))
        | "PlanWork" >> PlanWork(work, PlanConfig())
        | "StandIn" >> beam.Map(stand_in, windows)
        | "Commit" >> beam.FlatMap(commit, work, PROVENANCE)
        | "SaveMedia" >> SaveMedia(work, SaveConfig())
        | "WriteDataset" >> WriteDataset(work, PROVENANCE, DatasetConfig(started_at=time.time()))
    )
    pipeline.run().wait_until_finish()
    return json.loads(work.store.read(f"{OUTPUT}/summary.json"))["transcripts"]


def stand_in(chunk: MediaChunk, windows: int) -> Joined:
    """What would come out of decoding and the model."""
    if chunk.failure:
        return chunk.failure
    return chunk if chunk.transcribed or chunk.dead else ChunkTranscript(chunk, *facts(windows))


def status(root: str) -> int:
    """What `status`, `failures` and the plan's readers hold: the rows of the plan, and the inventory."""
    work = work_at(root)
    held = work.list_now()
    rows = list(work.plan())
    return sum(each.state in held.saved.get(each.name, ()) for each in rows)


def one_shard(root: str, number: int, windows: int = SHORT) -> int:
    """One of so many shards of the dataset, its rows listed first, as the shuffle before it would give them."""
    work = work_at(root, windows)
    keyed = (keyed_by_shard(MediaOutcome(media, False, False), number) for media in all_media(root))
    outcomes = (outcome for shard, outcome in keyed if shard == 0)
    summary, _ = write_shard((0, outcomes), work, PROVENANCE, number, StepMetrics(DATASET, UNWATCHED))
    return int(summary["transcripts",])


def adding_up(root: str, number: int) -> int:
    """The figures of so many shards made one."""
    one, media = MergeSummaries(), next(all_media(root))
    transcript = assemble([ChunkTranscript(MediaChunk(media), *facts(SHORT))], PROVENANCE)
    figures = of_transcript(transcript, MediaOutcome(transcript.media, failed=False, fresh=False))
    total = one.create_accumulator()
    for shard in range(number):
        total = one.add_input(total, Summary({**figures, (SHARDS, str(shard)): 1}))
    return int(total["transcripts",])


def local_listing(root: str) -> int:
    """Empty files on the local disk, listed by the local store."""
    return sum(1 for _ in LocalStore().list(f"{root}/files"))


def local_inventory(root: str) -> int:
    """The layers on the local disk: a folder and a file for each recording in both."""
    return len(WorkStore(f"{root}/files", "a" * 12, "b" * 12).list_now().saved)


def s3_reading(uri: str) -> int:
    """Small objects read by the S3 store, one after another."""
    store = S3Store(read_profiles({})[0])
    for _ in range(S3_OBJECTS):
        store.read(f"{uri}/small.json")
    return S3_OBJECTS


def s3_writing(uri: str) -> int:
    """Small objects put by the S3 store, one after another."""
    store = S3Store(read_profiles({})[0])
    for number in range(S3_OBJECTS):
        store.put(f"{uri}/{number}.json", committed(SHORT))
    return S3_OBJECTS


def s3_listing(uri: str) -> int:
    """Objects listed by the S3 store, again and again."""
    store = S3Store(read_profiles({})[0])
    return sum(1 for _ in range(LISTINGS) for _ in store.list(uri))


def decoding(path: str, times: int) -> int:
    """A recording decoded, and its speech found, one after another: the processor's time of the decoders counts."""
    entry = LocalStore().stat(path)
    assert entry is not None
    chunk = MediaChunk(media_file(entry, path))
    return sum(1 for _ in range(times) if list(decode(chunk, DecodeConfig())))


# What they are given.


def make_plan(root: pathlib.Path) -> None:
    """The rows of the plan, as PlanWork keeps them."""
    work, left = work_at(str(root)), all_media(str(root))
    while rows := [planned(MediaChunk(media), work) for media in itertools.islice(left, PLAN_ROWS)]:
        work.commit_plan(rows)


def make_files(root: pathlib.Path, keys: pathlib.Path) -> None:
    """Empty files by the keys."""
    for line in keys.open():
        path = root / "files" / line.rstrip()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def make_work(root: pathlib.Path, keys: pathlib.Path) -> None:
    """The layers on the local disk."""
    for layer in (f"asr/{'a' * 12}", "saved"):
        for line in (keys / layer.split("/")[0]).open():
            path = root / "files" / "_work" / layer / line.rstrip()
            path.parent.mkdir(parents=True)
            path.write_bytes(b"x")


@dataclasses.dataclass(frozen=True)
class Row:
    """What one process cost."""

    label: str
    records: int
    seconds: float
    cpu_s: float
    more_mb: float  # at its peak, than before
    requests: dict[str, int]

    def __str__(self) -> str:
        each = max(self.records, 1)
        reported = {kind: number / each for kind, number in sorted(self.requests.items())}
        asked = ", ".join(f"{number:.3f} {kind}" for kind, number in reported.items() if number >= 0.0005)
        cpu_us, memory = self.cpu_s / each * 1e6, self.more_mb / each * 1e6
        return (
            f"{self.label:38} {self.records:>9,} {self.seconds:8.1f} {self.cpu_s:8.1f} {self.more_mb:8.0f} "
            f"{cpu_us:8.0f} {memory:8.0f}  {asked}"
        )


def measure(function: str, place: str, *more: str) -> None:
    """Run one of the functions above, and print what it cost."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before, started, cpu = memory_mb("VmRSS"), time.monotonic(), cpu_s()
    records = globals()[function](place, *map(int, more))
    spent = {"seconds": time.monotonic() - started, "cpu_s": cpu_s() - cpu}
    more_mb = memory_mb("VmHWM") - before
    print(json.dumps({"records": records, **spent, "more_mb": more_mb, "requests": dict(requests)}))


def cpu_s() -> float:
    """Of this process and of the decoders that it has started."""
    spent = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def memory_mb(which: str) -> float:
    reported = pathlib.Path("/proc/self/status").read_text()
    return int(reported.split(f"{which}:")[1].split()[0]) * 1024 / 1e6


class Call(NamedTuple):
    """A row to be: a function, the place that it is given, and what else."""

    label: str
    function: str
    place: pathlib.Path | str
    more: tuple[int, ...] = ()
    environment: dict[str, str] = {}  # noqa: RUF012 - nobody changes it


def row(call: Call) -> Row:
    """The cost of a function in a process of its own, printed as soon as it is known."""
    command = [sys.executable, __file__, "measure", call.function, str(call.place), *map(str, call.more)]
    environment = {**os.environ, **call.environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = Row(call.label, **json.loads(done.stdout.splitlines()[-1]))
    print(found, file=sys.stderr, flush=True)
    return found


def on_shelves(root: pathlib.Path, media: int) -> Iterator[Call]:
    """Everything that the stand-in serves."""
    new, done = root / "new", root / "done"
    make_keys(new, media, done=False)
    make_keys(done, media, done=True)
    make_plan(done)
    yield Call("list", "listing", new)
    yield Call("list and name in memory", "naming", new)
    yield Call("inventory", "inventory", done)
    yield Call("inventory and plan", "planning", done)
    yield Call("status", "status", done)
    yield Call("one shard of 1", "one_shard", done, (1,))
    yield Call("one shard of 16", "one_shard", done, (16,))
    yield from (Call(f"adding up {number:,} shards", "adding_up", done, (number,)) for number in (100, 1_000, 10_000))


def as_jobs(root: pathlib.Path, media: int) -> Iterator[Call]:
    """The job in numbers that grow."""
    for part in (media // 100, media // 20, media // 10):
        some_new, some_done = root / f"new{part}", root / f"done{part}"
        make_keys(some_new, part, done=False)
        make_keys(some_done, part, done=True)
        yield Call("the job, all done before", "graph", some_done)
        yield Call("the job, all new", "graph", some_new)
    yield Call(f"the job, all {media:,} done before", "graph", root / "done")
    few = root / "few"
    make_keys(few, media // 500, done=False)
    yield Call("the job, all new, 100 segments", "graph", few, (LONG,))
    yield Call(f"the job, all new, {WAIT_MS} ms a request", "graph", few, (SHORT, WAIT_MS))
    yield Call("one shard of 1, 100 segments", "one_shard", root / f"done{media // 100}", (1, LONG))


def on_disk(root: pathlib.Path, media: int) -> Iterator[Call]:
    """The same listings by the local store."""
    make_files(root / "input", root / "new" / "in")
    yield Call("list files on disk", "local_listing", root / "input")
    make_work(root / "output", root / f"done{media // 10}")
    yield Call("inventory on disk", "local_inventory", root / "output")


def of_decoding(root: pathlib.Path) -> Iterator[Call]:
    """What a recording costs before the model, from a clip to five minutes."""
    clip = root / "clip.opus"
    cut = [find_ffmpeg(), "-v", "error", "-ss", "10", "-t", "5", "-i", str(SAMPLE), "-c:a", "copy", str(clip)]
    subprocess.run(cut, check=True)
    yield Call("decoding: 5 s", "decoding", clip, (60,))
    yield Call("decoding: 300 s", "decoding", SAMPLE, (6,))


def on_s3(_: pathlib.Path) -> Iterator[Call]:
    """What a request costs the client: the server is another process, and its time does not count."""
    with moto() as server:
        bucket = server.new_bucket()
        server.client().put_object(Bucket=bucket, Key="small.json", Body=committed(SHORT))
        for label, function in (("GET", "s3_reading"), ("PUT", "s3_writing"), ("LIST, a key", "s3_listing")):
            yield Call(f"S3 client: {label}", function, f"s3://moto@{bucket}", (), server.environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", default=[""], help="rows whose label begins like one of these")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root, media = pathlib.Path(name), flags.media
        calls = itertools.chain(
            on_shelves(root, media), as_jobs(root, media), on_disk(root, media), of_decoding(root), on_s3(root)
        )
        rows = [row(call) for call in calls if call.label.startswith(tuple(flags.only))]
    names = f"{'records':>9} {'seconds':>8} {'CPU s':>8} {'MB':>8} {'us each':>8} {'B each':>8}  requests each"
    print(f"{'':38} {names}")
    print(*rows, sep="\n")


if __name__ == "__main__":
    # workers find its classes, and so its counts, under this name
    from benchmarks import driver

    driver.measure(*sys.argv[2:]) if sys.argv[1:2] == ["measure"] else driver.main()
