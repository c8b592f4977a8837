"""The work store under the output: layers of committed results, found again by any later run.

    _work/asr/<fingerprint>/<source>/<chunk>-of-<chunks>.json   what inference produced; -failed.json if on no window
    _work/translation/<language>/<fingerprint>/<source>.json    what an LLM translator produced
    _work/dead/<fingerprint>/<source>.json                      why a recording could not be done; -again.json if any
                                                                later run is to try it unasked
    _work/saved/<hash of the name>/<state>.json                 which files lie under a name, and whose they are
    _work/runs/<run>/<hash>.json                                what the last run was to do
    _work/runs/<run>/failed/<source>.json                       that a recording failed in it, where they are counted
    _work/gaps/<run>.json                                       which files of people's it did not find
    _work/generation.json                                       how often everything was started anew
    _work/skipped.json                                          what the last run passed over in its input

A fingerprint covers the options that are meant to change the layer and nothing else, and behind a dash the number of
times that everything was started anew; a source is a recording in one version. So the name alone of an object says
what it holds, and a listing is enough to plan. Files that people use have one place whatever the options; what is
noted of them is kept by their name, and the state covers all that they were made from.

Objects whose names have another shape are somebody else's: they are neither read nor removed. An object that cannot
be read as what it should be counts as missing.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import json
import logging
import platform
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from transforms.dofns.threads import map_in_threads
from transforms.inputs.names import FOLDER, is_below, octets
from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    DeadLetter,
    MediaChunk,
    MediaFile,
    Name,
    PlannedMedia,
    Transcript,
    WindowRecord,
    from_plain,
    to_plain,
)
from transforms.storage import Entry, StorageError, Store, Stores, join
from transforms.storage.secrets import masked
from transforms.storage.texts import clean

T = TypeVar("T")

# of the objects below: a new one makes every earlier object count as missing
FORMAT = 2
UNFINISHED = "unfinished"  # the state of files that are being written
# the state of a recording that left the input: its files are gone
LEFT = "left"
GENERATION = "_work/generation.json"
SKIPPED = "_work/skipped.json"
RECORD = "run.json"  # what a run was started with, and how it ended
# the code of a recording of which an object cannot be read: any later run does it again
LOST = "layer_lost"

# What is ours in each layer, by its name below the layer.
SOURCE = r"[^/]+-[0-9a-f]{8}"
NUMBER = r"(?:0|[1-9][0-9]{0,5})"
CHUNK = re.compile(rf"{SOURCE}/(?P<chunk>{NUMBER})-of-(?P<chunks>{NUMBER})(?:-failed)?\.json")
DEAD = re.compile(rf"{SOURCE}(?:-again)?\.json")
SAVED = re.compile(rf"[0-9a-f]{{32}}/(?:[0-9a-f]{{16}}(?:-again)?|{UNFINISHED}|{LEFT})\.json")
PLAN = re.compile(r"[0-9a-z]+/[0-9a-f]{12}\.json")
GAPS = re.compile(r"[0-9a-z]+\.json")
FAILURE = re.compile(rf"[0-9a-z]+/failed/{SOURCE}\.json")

log = logging.getLogger(__name__)


class ChunkObject(NamedTuple):
    """An object of the asr layer."""

    media: MediaFile
    audio: AudioFacts
    windows: tuple[WindowRecord, ...]


class TranslationObject(NamedTuple):
    """An object of the translation layer."""

    media: MediaFile
    of: str  # a hash of the texts
    texts: tuple[str | None, ...]  # None where it failed
    error: str


class SavedNote(NamedTuple):
    """What is noted of the files under one name: an object of the saved layer."""

    media: MediaFile
    files: tuple[Name, ...]  # below the output, that are the recording's
    # Of what was put, or is about to be: a file of those alone is ours if it has the digest.
    digests: dict[str, str] = {}  # noqa: RUF012 - never changed; notes of earlier versions have none


class SkippedObject(NamedTuple):
    """What a run passed over in its input, by reason and by suffix."""

    run: str
    skipped: dict[str, int]
    skipped_suffixes: dict[str, int]


class Generation(NamedTuple):
    """How often everything was started anew, and whether a run has come to its end since."""

    number: int
    finished: bool


def fingerprint(settings: dict[str, Any]) -> str:
    """Twelve hex digits that change when any of the settings does."""
    text = json.dumps({**settings, "format": FORMAT}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def json_bytes(content: Any, indent: int | None = None) -> bytes:
    """UTF-8 JSON with sorted keys, without secrets and NaN: the same content gives the same bytes."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, indent=indent, allow_nan=False)
    # in values alone, so that a secret that is a common word breaks no object
    if masked(text) != text:
        text = json.dumps(masked(content), ensure_ascii=False, sort_keys=True, indent=indent, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")  # a name that is no UTF-8 must not stop the run


def from_json(data: bytes) -> Any:
    """What JSON holds.

    Raises:
        ValueError: it is none, or has numbers that JSON knows not, or is nested too deeply.
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def source_id(media: MediaFile) -> str:
    """The recording in this version, with the language that it is forced to: what layers are keyed by."""
    return f"{media.media_id}-{_digest(media.version, media.language)[:8]}"


@dataclasses.dataclass(frozen=True)
class Inventory:
    """What the layers held when they were listed."""

    # source → "<chunk>-of-<chunks>" or "…-failed" of each that is committed
    chunks: dict[str, tuple[str, ...]]
    dead: frozenset[str]  # "<source>"
    saved: dict[str, tuple[str, ...]]  # hash of the name → its states
    gaps: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # → what is there, where some is not
    again: frozenset[str] = frozenset()  # those of the dead that any later run is to try

    def complete(self, source: str) -> int:
        """The number of chunks of a recording that is committed whole, else 0."""
        return complete(self.chunks.get(source, ()))


@dataclasses.dataclass(frozen=True)
class WorkStore:
    """The work store of one output, for one set of options."""

    output: str
    asr: str  # fingerprints
    saved: str
    translation: str = ""  # "" where no LLM translates
    translation_language: str = ""
    stores: Stores = dataclasses.field(default_factory=Stores)
    run: str = ""  # whose work this is
    # how often everything was started anew: the layers of other generations count as missing
    generation: int = 0

    @property
    def store(self) -> Store:
        """The store of the output."""
        return self.stores.serving(self.output)

    def inventory(self) -> Inventory:
        """What was committed before this run: one listing a layer, however many media."""
        if not self.run:
            return self.list_now()
        # the threads of a worker set their steps up at once, and would each list and hold everything
        with _listing:
            return _inventory(self)

    def list_now(self) -> Inventory:
        """What is committed at this moment."""
        dead = set(self._names(f"_work/dead/{self._now(self.asr)}", DEAD))
        again = {name.removesuffix("-again") for name in dead if name.endswith("-again")}
        return Inventory(
            chunks=_in_folders(self._names(self._transcribed(), CHUNK)),
            dead=frozenset(name.removesuffix("-again") for name in dead),
            saved=self.list_saved(),
            gaps=self._get(self._gaps(), dict[str, tuple[str, ...]]) or {},
            again=frozenset(again),
        )

    def list_saved(self) -> dict[str, tuple[str, ...]]:
        """The states that are noted at this moment, by the hash of their name."""
        return _in_folders(self._names("_work/saved", SAVED))

    def committed(self, media: MediaFile) -> tuple[str, ...]:
        """The names of the recording's chunks that are committed at this moment."""
        source = source_id(media)
        return _in_folders(self._names(self._transcribed(), CHUNK, source)).get(source, ())

    def in_generation(self, anew: bool) -> WorkStore:
        """These layers as the output has them; `anew` opens another generation, or goes on with one that is open."""
        found = self._get(join(self.output, GENERATION), Generation)
        if found is None or found.number < 0:
            found = Generation(self._last_generation(), finished=True)
        return dataclasses.replace(self, generation=found.number + (anew and found.finished))

    def _last_generation(self) -> int:
        """The last generation of these options that has a chunk, where the object that says it cannot be read."""
        if self.store.stat(join(self.output, GENERATION)) is None:
            return 0  # nobody has started anew
        own = re.compile(rf"{self.asr}-([1-9][0-9]{{0,5}})/{CHUNK.pattern}")
        found = (own.fullmatch(name) for name, _ in self._below("_work/asr"))
        return max((int(match[1]) for match in found if match), default=0)

    def commit_generation(self, finished: bool) -> None:
        """Make this generation the current one, and note whether a run has finished in it."""
        if self.generation:
            self._put(join(self.output, GENERATION), Generation(self.generation, finished))

    def _names(self, layer: str, ours: re.Pattern[str], folder: str = "") -> Iterator[str]:
        """The names of a layer's own objects, below it and without their suffix; of one folder in it, if given."""
        for name, entry in self._below(layer, folder):
            if entry.size_bytes and _is_ours(name, ours):  # a power cut may leave a name without its content
                yield name.removesuffix(".json")

    def _below(self, layer: str, folder: str = "") -> Iterator[tuple[str, Entry]]:
        """(name below the layer, entry) of whatever lies in it."""
        root = self.store.canonical(join(self.output, layer)) + "/"
        for entry in self.store.list(root + folder):
            yield entry.uri.removeprefix(root), entry

    def commit_chunk(self, transcript: ChunkTranscript) -> None:
        content = ChunkObject(transcript.chunk.media, transcript.audio, transcript.windows)
        self._put(self._chunk(transcript.chunk, transcript.failed and transcript.chunk.chunks > 1), content)

    def chunk(self, chunk: MediaChunk) -> ChunkTranscript | None:
        """What was committed for the chunk, or None."""
        found = self._get(self._chunk(chunk), ChunkObject)
        if found is None and chunk.chunks > 1:
            found = self._get(self._chunk(chunk, failed=True), ChunkObject)
        return found and ChunkTranscript(chunk, found.audio, tuple(map(_cleaned, found.windows)))

    def has_chunk(self, chunk: MediaChunk) -> bool:
        """Whether the chunk is committed at this moment."""
        found = self.store.stat(self._chunk(chunk))
        return found is not None and found.size_bytes > 0

    def check_shared(self) -> None:
        """Raise StorageError if this worker does not see the run's files: the output is not shared by all workers."""
        if self.run and self.store.stat(join(self.output, RECORD)) is None:
            raise StorageError(
                f"the worker on {platform.node()} does not see {self.output}, where the run began: workers on other "
                "machines need an --output that all of them reach, s3://, gs:// or a shared mount"
            )

    def delete_chunk(self, chunk: MediaChunk) -> None:
        self.store.delete(self._chunk(chunk))
        if chunk.chunks > 1:
            self.store.delete(self._chunk(chunk, failed=True))

    def delete_failed_chunks(self, media: MediaFile, committed: Iterable[str]) -> None:
        """Delete what is committed of chunks of which all windows failed, so that they are missing."""
        for name in set(committed).difference(without_failed(committed)):
            self.store.delete(join(self.output, self._transcribed(media), f"{name}.json"))

    def commit_translation(self, transcript: Transcript, texts: list[str | None], error: str) -> None:
        content = TranslationObject(transcript.media, _source(transcript), tuple(texts), error)
        self._put(self._translation(transcript.media), content)

    def read_translation(self, transcript: Transcript) -> tuple[list[str | None], str] | None:
        """The translated text of each segment (None where it failed) and the last error; None for another text."""
        found = self._get(self._translation(transcript.media), TranslationObject) if self.translation else None
        if found is None or found.of != _source(transcript) or len(found.texts) != len(transcript.segments):
            return None
        return [text and clean(text) for text in found.texts], found.error

    def commit_saved(
        self, media: MediaFile, files: Iterable[str], complete: bool, digests: dict[str, str] | None = None
    ) -> None:
        """Note that these are the files of the recording, whole, made with these options."""
        self._note(media, self.state(media, complete), files, digests or {})

    def begin_saving(self, media: MediaFile, files: Iterable[str], digests: dict[str, str], anew: bool) -> bool:
        """Note, before any is written, what will lie under the name should the run be killed.

        `anew` leaves a note that is there as it is, and then gives False.
        """
        uri, note = self._saved(name_key(media.name), UNFINISHED), SavedNote(media, tuple(sorted(files)), digests)
        if anew:
            return self.store.put_new(uri, json_bytes(to_plain(note)))
        self._put(uri, note)
        return True

    def note_left(self, media: MediaFile) -> None:
        """Note that the recording left the input and has no files any more; it may come back."""
        self._note(media, LEFT, (), {})

    def state(self, media: MediaFile, complete: bool = True) -> str:
        """The name of a recording's note: a hash of what its files are made from, and whether a part is missing."""
        digest = _digest(source_id(media), media.id, self._now(self.saved))[:16]
        return digest if complete else incomplete(digest)

    def saved_note(self, key: str, state: str) -> SavedNote | None:
        """What is noted of one state of a name, by its hash; None where it is gone."""
        found = self._get(self._saved(key, state), SavedNote)
        if found is None:
            return None
        return found._replace(files=tuple(filter(is_below, found.files)))  # a damaged note removes nothing elsewhere

    def saved_by(self, name: str) -> set[str]:
        """The media_ids of those whose files lay under the name before this run."""
        key = name_key(name)
        notes = (self.saved_note(key, state) for state in self.inventory().saved.get(key, ()))
        return {note.media.media_id for note in notes if note and note.files}

    def wrote(self, file: str) -> bool:
        """Whether the file, by its name below the output, is noted at this moment as one that a run wrote."""
        key = name_key(file.removeprefix(f"{FOLDER}/").rpartition(".")[0])
        notes = (self.saved_note(key, state) for state in self.states_now(key))
        return any(file in note.files for note in notes if note)

    def states_now(self, key: str) -> tuple[str, ...]:
        """The states that are noted of a name at this moment, by its hash."""
        return _in_folders(self._names("_work/saved", SAVED, key)).get(key, ())

    def delete_saved_note(self, key: str, state: str) -> None:
        self.store.delete(self._saved(key, state))

    def saved_media(self) -> Iterator[MediaFile]:
        """Every recording whose files are noted."""
        noted = (entry.uri for name, entry in self._below("_work/saved") if _is_ours(name, SAVED))
        for found in map_in_threads(lambda uri: self._get(uri, SavedNote), noted):
            if found:
                yield found.media

    def commit_plan(self, planned: Sequence[PlannedMedia]) -> None:
        """Write a part of the plan; a retried bundle writes the same object again."""
        rows = sorted(planned)
        self._put(join(self.output, "_work/runs", self.run, f"{fingerprint({'rows': rows})}.json"), rows)

    def plan(self) -> Iterator[PlannedMedia]:
        """Everything that this run is to do, each recording once."""
        known: set[str] = set()
        parts = (entry.uri for name, entry in self._below("_work/runs", self.run) if _is_ours(name, PLAN))
        for part in map_in_threads(lambda uri: self._get(uri, tuple[PlannedMedia, ...]), parts):
            for row in part or ():
                if row.source not in known:
                    known.add(row.source)
                    yield row

    def delete_other_plans(self) -> None:
        """Delete the plans and the gaps of other runs."""
        for name, entry in self._below("_work/runs"):
            if (_is_ours(name, PLAN) or _is_ours(name, FAILURE)) and not name.startswith(f"{self.run}/"):
                self.store.delete(entry.uri)
        for name, entry in self._below("_work/gaps"):
            if _is_ours(name, GAPS) and name != f"{self.run}.json":
                self.store.delete(entry.uri)

    def commit_gaps(self, gaps: dict[str, tuple[str, ...]]) -> None:
        """Keep for the workers of this run which names may lack files, by their hash, and what is there of them."""
        if gaps:
            self._put(self._gaps(), gaps)

    def commit_skipped(self, figures: dict[str, dict[str, int]]) -> None:
        """Keep the counts of what was passed over; of a bundle that is retried it is the same again."""
        self._put(join(self.output, SKIPPED), SkippedObject(self.run, **figures))

    def skipped(self) -> dict[str, dict[str, int]]:
        """What this run passed over, by reason and by suffix, as summary.json has it."""
        found = self._get(join(self.output, SKIPPED), SkippedObject)
        known = found if found and found.run == self.run else SkippedObject("", {}, {})
        return {"skipped": known.skipped, "skipped_suffixes": known.skipped_suffixes}

    def note_failure(self, media: MediaFile) -> None:
        """Note that the recording failed in this run, for whoever counts."""
        self.store.put(join(self.output, "_work/runs", self.run, "failed", f"{source_id(media)}.json"), b"{}\n")

    def failures(self) -> int:
        """How many media failed in this run, in whichever process."""
        return sum(1 for _ in self._names("_work/runs", FAILURE, f"{self.run}/failed"))

    def commit_dead_letter(self, letter: DeadLetter) -> None:
        self._put(self._dead(source_id(letter.media), again=letter.code == LOST), letter)

    def dead_letter(self, media: MediaFile) -> DeadLetter | None:
        letter = self.dead_letter_of(source_id(media))
        return letter and letter._replace(media=media)

    def dead_letter_of(self, source: str) -> DeadLetter | None:
        """Like `dead`, of a recording as the layers name it."""
        return self._get(self._dead(source), DeadLetter) or self._get(self._dead(source, again=True), DeadLetter)

    def delete_dead_letter(self, media: MediaFile) -> None:
        for again in (False, True):
            self.store.delete(self._dead(source_id(media), again))

    def _now(self, fingerprint: str) -> str:
        """The fingerprint in this generation."""
        return f"{fingerprint}-{self.generation}" if self.generation else fingerprint

    def in_use(self) -> dict[str, str]:
        """The folder of each layer that holds what these options make, below the layer's own; "" where none does."""
        asr = self._now(self.asr)
        by_llm = join(self.translation_language, self._now(self.translation)) if self.translation else ""
        return {"asr": asr, "translation": by_llm, "dead": asr}

    def _transcribed(self, *media: MediaFile) -> str:
        """The folder of the asr layer, or of one recording in it."""
        return join("_work/asr", self._now(self.asr), *map(source_id, media))

    def _chunk(self, chunk: MediaChunk, failed: bool = False) -> str:
        return join(self.output, self._transcribed(chunk.media), f"{chunk_name(chunk)}{'-failed' * failed}.json")

    def _translation(self, media: MediaFile) -> str:
        folder = join(self.output, "_work/translation", self.translation_language)
        return join(folder, self._now(self.translation), f"{source_id(media)}.json")

    def _saved(self, key: str, state: str) -> str:
        return join(self.output, "_work/saved", key, f"{state}.json")

    def _note(self, media: MediaFile, state: str, files: Iterable[str], digests: dict[str, str]) -> None:
        self._put(self._saved(name_key(media.name), state), SavedNote(media, tuple(sorted(files)), digests))

    def _gaps(self) -> str:
        return join(self.output, "_work/gaps", f"{self.run}.json")

    def _dead(self, source: str, again: bool = False) -> str:
        return join(self.output, "_work/dead", self._now(self.asr), f"{source}{'-again' * again}.json")

    def _put(self, uri: str, record: Any) -> None:
        self.store.put(uri, json_bytes(to_plain(record)))

    def _get(self, uri: str, kind: type[T]) -> T | None:
        """The record that an object holds; None where there is none, or none of that kind."""
        try:
            return from_plain(kind, from_json(self.store.read(uri)))
        except (FileNotFoundError, IsADirectoryError):
            return None
        except ValueError as error:  # a power cut, a sync program or a bad disk
            log.warning("%s cannot be read and counts as missing: %s", uri, error)
            return None


_listing = threading.Lock()


@functools.lru_cache(maxsize=2)
def _inventory(work: WorkStore) -> Inventory:
    """One listing a run in each process: the steps that plan and save need the same."""
    return work.list_now()


def clear_inventory_cache() -> None:
    """Forget the cached inventory of this process, so that the next one is listed again."""
    _inventory.cache_clear()


def _in_folders(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names by the folder that they stand in."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        folder, _, rest = name.partition("/")
        found[folder] = (*found[folder], rest) if folder in found else _only(rest)
    return found


@functools.lru_cache(maxsize=100)
def _only(name: str) -> tuple[str, ...]:
    """The name alone: nearly every recording has the same, "0-of-1", and a million of them share one tuple."""
    return (name,)


def _is_ours(name: str, ours: re.Pattern[str]) -> bool:
    """Whether an object of this name below its layer is one of ours."""
    match = ours.fullmatch(name)
    return match is not None and (ours is not CHUNK or int(match["chunk"]) < int(match["chunks"]))


def complete(committed: Iterable[str]) -> int:
    """The number of chunks of which each is committed, else 0."""
    names = {name.removesuffix("-failed") for name in committed}
    counts = {int(name.rpartition("-")[2]) for name in names}
    return next((n for n in sorted(counts) if n <= len(names) and _all_of(n) <= names), 0)


@functools.lru_cache(maxsize=100)
def _all_of(chunks: int) -> frozenset[str]:
    return frozenset(f"{chunk}-of-{chunks}" for chunk in range(chunks))


def without_failed(committed: Iterable[str]) -> tuple[str, ...]:
    """The names of the chunks that did not fail."""
    return tuple(name for name in committed if not name.endswith("-failed"))


def incomplete(state: str) -> str:
    """The state in which a part is missing that a later run asks for again."""
    return f"{state}-again"


def chunk_name(chunk: MediaChunk) -> str:
    return f"{chunk.chunk}-of-{chunk.chunks}"


def file_of(media: MediaFile, suffix: str) -> str:
    """Where a file that people use of a recording lies below the output.

    Raises:
        OSError: its name leads elsewhere, which no name that CollectMedia gives does.
    """
    file = f"{FOLDER}/{media.name}.{suffix}"
    if not is_below(file):
        raise OSError(errno.EINVAL, "not a name below the output", ascii(file))
    return file


def name_key(name: str) -> str:
    return _digest(name)[:32]


def _digest(*parts: str) -> str:
    return hashlib.sha256(octets("\0".join(parts))).hexdigest()


def _source(transcript: Transcript) -> str:
    """A hash of the texts that a translation is of."""
    return fingerprint({"texts": [segment.text for segment in transcript.segments]})


def _cleaned(window: WindowRecord) -> WindowRecord:
    """The window without what earlier versions let into its texts."""
    return window._replace(
        texts={
            task: tuple(each._replace(text=clean(each.text)) for each in segments)
            for task, segments in window.texts.items()
        }
    )
