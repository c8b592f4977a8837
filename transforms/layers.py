"""The durable layers under the output: what was committed, found again by any later run.

    _work/asr/<fingerprint>/<source>/<chunk>-of-<chunks>.json   what inference produced
    _work/translation/<language>/<fingerprint>/<source>.json    what an LLM translator produced
    _work/dead/<fingerprint>/<source>.json                      why a media could not be done
    _work/saved/<hash of the name>/<state>.json                 which files lie under a name, and whose they are
    _work/runs/<run>/<hash>.json                                what the last run was to do
    _work/gaps/<run>.json                                       which files of people's it did not find
    _work/generation.json                                       how often everything was started anew
    _work/skipped.json                                          what the last run passed over in its input

A fingerprint covers the options that are meant to change the layer and nothing else, and behind a dash the number of
times that everything was started anew; a source is a media in one version. So the name alone of an object says what
it holds, and a listing is enough to plan. Files that people use have one place whatever the options; what is noted of
them is kept by their name, and the state covers all that they were made from.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import hashlib
import itertools
import json
import platform
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from transforms.ahead import ahead
from transforms.inputs.names import FOLDER, is_below, octets
from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    DeadLetter,
    MediaChunk,
    MediaFile,
    PlannedMedia,
    Problem,
    Segment,
    Transcript,
    WindowRecord,
    to_plain,
)
from transforms.secrets import struck
from transforms.storage import StorageError, Store, Stores, join
from transforms.texts import clean

FORMAT = 2  # of the objects below: a new one makes every earlier object count as missing
UNFINISHED = "unfinished"  # the state of files that are being written
LEFT = "left"  # the state of a media that left the input: its files are gone
GENERATION = "_work/generation.json"
SKIPPED = "_work/skipped.json"
RECORD = "run.json"  # what a run was started with, and how it ended


def fingerprint(settings: dict[str, Any]) -> str:
    """Twelve hex digits that change when any of the settings does."""
    text = json.dumps({**settings, "format": FORMAT}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def json_bytes(content: Any, indent: int | None = None) -> bytes:
    """UTF-8 JSON with sorted keys and without secrets: the same content gives the same bytes."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, indent=indent)
    if struck(text) != text:  # in values alone, so that a secret that is a common word breaks no object
        text = json.dumps(struck(content), ensure_ascii=False, sort_keys=True, indent=indent)
    return (text + "\n").encode("utf-8", "backslashreplace")  # a name that is no UTF-8 must not stop the run


def source_id(media: MediaFile) -> str:
    """The media in this version, with the language that it is forced to: what layers are keyed by."""
    return f"{media.media_id}-{_digest(media.version, media.language)[:8]}"


@dataclasses.dataclass(frozen=True)
class Inventory:
    """What the layers held when they were listed."""

    chunks: dict[str, tuple[str, ...]]  # source → "<chunk>-of-<chunks>" of each that is committed
    dead: frozenset[str]  # "<source>"
    saved: dict[str, tuple[str, ...]]  # hash of the name → its states
    gaps: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # → what is there, where some is not

    def complete(self, source: str) -> int:
        """The number of chunks of a media that is committed whole, else 0."""
        return complete(self.chunks.get(source, ()))


class SavedNote(NamedTuple):
    """What is noted of the files under one name."""

    media: MediaFile
    files: tuple[str, ...]  # below the output, that are the media's
    digests: dict[str, str]  # of what was put, or is about to be: a file of those alone is ours if it has the digest


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of one set of options under one output."""

    output: str
    asr: str  # fingerprints
    saved: str
    translation: str = ""  # "" where no LLM translates
    translation_language: str = ""
    stores: Stores = dataclasses.field(default_factory=Stores)
    run: str = ""  # whose work this is
    generation: int = 0  # how often everything was started anew: the layers of other generations count as missing

    @property
    def store(self) -> Store:
        """The store of the output."""
        return self.stores.serving(self.output)

    def inventory(self) -> Inventory:
        """What was committed before this run: one listing a layer, however many media."""
        if not self.run:
            return self.list_now()
        with _listing:  # the threads of a worker set their steps up at once, and would each list and hold everything
            return _inventory(self)

    def list_now(self) -> Inventory:
        """What is committed at this moment."""
        return Inventory(
            chunks=_in_folders(self._names(self._transcribed())),
            dead=frozenset(self._names(f"_work/dead/{self._now(self.asr)}")),
            saved=self.list_saved(),
            gaps={key: tuple(kinds) for key, kinds in (self._get(self._gaps()) or {}).items()},
        )

    def list_saved(self) -> dict[str, tuple[str, ...]]:
        """The states that are noted at this moment, by the hash of their name."""
        return _in_folders(name for name in self._names("_work/saved") if "/" in name)

    def committed(self, media: MediaFile) -> tuple[str, ...]:
        """The names of the media's chunks that are committed at this moment."""
        return tuple(self._names(self._transcribed(media)))

    def in_generation(self, anew: bool) -> Layers:
        """These layers as the output has them; `anew` opens another generation, or goes on with one that is open."""
        record = self._get(join(self.output, GENERATION)) or {"number": 0, "finished": True}
        number = record["number"] + (anew and record["finished"])
        return dataclasses.replace(self, generation=number)

    def commit_generation(self, finished: bool) -> None:
        """Note that this generation counts from now on, and whether a run has come to its end in it."""
        if self.generation:
            self._put(join(self.output, GENERATION), {"number": self.generation, "finished": finished})

    def _names(self, layer: str) -> Iterator[str]:
        """The names of a layer's objects, below it and without their suffix."""
        folder = self.store.canonical(join(self.output, layer)) + "/"
        for entry in self.store.list(folder):
            if entry.size_bytes:  # a power cut may leave a name without its content
                yield entry.uri.removeprefix(folder).removesuffix(".json")

    def commit_chunk(self, transcript: ChunkTranscript) -> None:
        chunk = transcript.chunk
        content = {
            "media": to_plain(chunk.media),
            "audio": to_plain(transcript.audio),
            "windows": to_plain(transcript.windows),
        }
        self._put(self._chunk(chunk), content)

    def chunk(self, chunk: MediaChunk) -> ChunkTranscript | None:
        """What was committed for the chunk, or None."""
        content = self._get(self._chunk(chunk))
        if content is None:
            return None
        windows = tuple(_window(window) for window in content["windows"])
        return ChunkTranscript(chunk, _audio(content["audio"]), windows)

    def has_chunk(self, chunk: MediaChunk) -> bool:
        """Whether the chunk is committed at this moment."""
        found = self.store.stat(self._chunk(chunk))
        return found is not None and found.size_bytes > 0

    def check_reached(self) -> None:
        """Raise StorageError where this worker does not see what the run has put under the output."""
        if self.run and self.store.stat(join(self.output, RECORD)) is None:
            raise StorageError(
                f"the worker on {platform.node()} does not see {self.output}, where the run began: workers on other "
                "machines need an --output that all of them reach, s3://, gs:// or a shared mount"
            )

    def forget_chunk(self, chunk: MediaChunk) -> None:
        self.store.delete(self._chunk(chunk))

    def commit_translation(self, transcript: Transcript, texts: list[str | None], error: str) -> None:
        content = {"media": to_plain(transcript.media), "of": _source(transcript), "texts": texts, "error": error}
        self._put(self._translation(transcript.media), content)

    def translated(self, transcript: Transcript) -> tuple[list[str | None], str] | None:
        """The translated text of each segment (None where it failed) and the last error; None for another text."""
        content = self._get(self._translation(transcript.media)) if self.translation else None
        if content is None or content["of"] != _source(transcript):
            return None
        return [text and clean(text) for text in content["texts"]], content["error"]

    def commit_saved(
        self, media: MediaFile, files: Iterable[str], complete: bool, digests: dict[str, str] | None = None
    ) -> None:
        """Note that these are the files of the media, whole, made with these options."""
        self._note(media, self.state(media, complete), files, digests or {})

    def begin_saving(self, media: MediaFile, files: Iterable[str], digests: dict[str, str], anew: bool) -> bool:
        """Note, before any is written, what will lie under the name should the run be killed.

        `anew` leaves a note that is there as it is, and then gives False.
        """
        uri, content = self._saved(name_key(media.name), UNFINISHED), _saved_note(media, files, digests)
        if anew:
            return self.store.put_new(uri, json_bytes(content))
        self._put(uri, content)
        return True

    def note_left(self, media: MediaFile) -> None:
        """Note that the media left the input and has no files any more; it may come back."""
        self._note(media, LEFT, (), {})

    def state(self, media: MediaFile, complete: bool = True) -> str:
        """The name of what is noted of a media's files: by all that they were made from, and if a part is missing."""
        digest = _digest(source_id(media), media.id, self._now(self.saved))[:16]
        return digest if complete else incomplete(digest)

    def saved_note(self, key: str, state: str) -> SavedNote | None:
        """What is noted of one state of a name, by its hash; None where it is gone."""
        content = self._get(self._saved(key, state))
        if content is None:
            return None
        files = tuple(filter(is_below, content["files"]))  # a damaged note removes nothing elsewhere
        return SavedNote(MediaFile(**content["media"]), files, content.get("digests", {}))

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
        return tuple(self._names(f"_work/saved/{key}"))

    def forget_saved(self, key: str, state: str) -> None:
        self.store.delete(self._saved(key, state))

    def saved_media(self) -> Iterator[MediaFile]:
        """Every media whose files are noted."""
        folder = join(self.output, "_work/saved")
        for content in ahead(lambda entry: self._get(entry.uri), self.store.list(folder)):
            if content:
                yield MediaFile(**content["media"])

    def commit_plan(self, planned: Sequence[PlannedMedia]) -> None:
        """Keep a part of the plan; the same part again, of a bundle that is retried, is the same object."""
        rows = sorted(planned)
        name = fingerprint({"rows": rows})
        self.store.put(join(self.output, "_work/runs", self.run, f"{name}.json"), json_bytes(rows))

    def plan(self) -> Iterator[PlannedMedia]:
        """Everything that this run is to do, each media once."""
        known: set[str] = set()
        parts = self.store.list(join(self.output, "_work/runs", self.run))
        for part in ahead(lambda entry: self._read(entry.uri), parts):
            for row in itertools.starmap(PlannedMedia, part or []):
                if row.source not in known:
                    known.add(row.source)
                    yield row

    def forget_plans(self) -> None:
        """Delete the plans and the gaps of other runs."""
        for folder in ("_work/runs", "_work/gaps"):
            own = self.store.canonical(join(self.output, folder, self.run))
            for entry in self.store.list(join(self.output, folder)):
                if not entry.uri.startswith((f"{own}/", f"{own}.")):
                    self.store.delete(entry.uri)

    def commit_gaps(self, gaps: dict[str, tuple[str, ...]]) -> None:
        """Keep for the workers of this run which names may lack files, by their hash, and what is there of them."""
        if gaps:
            self._put(self._gaps(), gaps)

    def commit_skipped(self, figures: dict[str, Any]) -> None:
        """Keep the counts of what was passed over; of a bundle that is retried it is the same again."""
        self._put(join(self.output, SKIPPED), {"run": self.run, **figures})

    def skipped(self) -> dict[str, dict[str, int]]:
        """What this run passed over, by reason and by suffix, as summary.json has it."""
        content = self._get(join(self.output, SKIPPED)) or {}
        known = content if content.get("run") == self.run else {}
        return {name: known.get(name, {}) for name in ("skipped", "skipped_suffixes")}

    def commit_dead(self, letter: DeadLetter) -> None:
        self._put(self._dead(source_id(letter.media)), to_plain(letter))

    def dead(self, media: MediaFile) -> DeadLetter | None:
        letter = self.dead_of(source_id(media))
        return letter and letter._replace(media=media)

    def dead_of(self, source: str) -> DeadLetter | None:
        """Like `dead`, of a media as the layers name it."""
        content = self._get(self._dead(source))
        return None if content is None else DeadLetter(**{**content, "media": MediaFile(**content["media"])})

    def forget_dead(self, media: MediaFile) -> None:
        self.store.delete(self._dead(source_id(media)))

    def _now(self, fingerprint: str) -> str:
        """The fingerprint in this generation."""
        return f"{fingerprint}-{self.generation}" if self.generation else fingerprint

    def in_use(self) -> dict[str, str]:
        """The folder of each layer that holds what these options make, below the layer's own; "" where none does."""
        asr = self._now(self.asr)
        by_llm = join(self.translation_language, self._now(self.translation)) if self.translation else ""
        return {"asr": asr, "translation": by_llm, "dead": asr}

    def _transcribed(self, *media: MediaFile) -> str:
        """The folder of the asr layer, or of one media in it."""
        return join("_work/asr", self._now(self.asr), *map(source_id, media))

    def _chunk(self, chunk: MediaChunk) -> str:
        return join(self.output, self._transcribed(chunk.media), f"{chunk_name(chunk)}.json")

    def _translation(self, media: MediaFile) -> str:
        folder = join(self.output, "_work/translation", self.translation_language)
        return join(folder, self._now(self.translation), f"{source_id(media)}.json")

    def _saved(self, key: str, state: str) -> str:
        return join(self.output, "_work/saved", key, f"{state}.json")

    def _note(self, media: MediaFile, state: str, files: Iterable[str], digests: dict[str, str]) -> None:
        self._put(self._saved(name_key(media.name), state), _saved_note(media, files, digests))

    def _gaps(self) -> str:
        return join(self.output, "_work/gaps", f"{self.run}.json")

    def _dead(self, source: str) -> str:
        return join(self.output, "_work/dead", self._now(self.asr), f"{source}.json")

    def _put(self, uri: str, content: dict[str, Any]) -> None:
        self.store.put(uri, json_bytes(content))

    def _get(self, uri: str) -> dict[str, Any] | None:
        content = self._read(uri)
        return content if isinstance(content, dict) else None

    def _read(self, uri: str) -> Any:
        """The content of an object, or None where there is none."""
        try:
            return json.loads(self.store.read(uri))
        except (FileNotFoundError, ValueError):  # a power cut may leave a name without its content
            return None


_listing = threading.Lock()


@functools.lru_cache(maxsize=2)
def _inventory(layers: Layers) -> Inventory:
    """One listing a run in each process: the steps that plan and save need the same."""
    return layers.list_now()


def _in_folders(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names by the folder that they stand in."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        folder, _, rest = name.partition("/")
        found[folder] = (*found[folder], rest) if folder in found else _only(rest)
    return found


@functools.lru_cache(maxsize=100)
def _only(name: str) -> tuple[str, ...]:
    """The name alone: nearly every media has the same, "0-of-1", and a million of them share one tuple."""
    return (name,)


def complete(committed: Iterable[str]) -> int:
    """The number of chunks of which each is committed, else 0."""
    names = set(committed)
    counts = {int(name.rpartition("-")[2]) for name in names}
    return next((n for n in sorted(counts) if names.issuperset(f"{chunk}-of-{n}" for chunk in range(n))), 0)


def incomplete(state: str) -> str:
    """The state in which a part is missing that a later run asks for again."""
    return f"{state}-again"


def chunk_name(chunk: MediaChunk) -> str:
    return f"{chunk.chunk}-of-{chunk.chunks}"


def file_of(media: MediaFile, suffix: str) -> str:
    """Where a file that people use of a media lies below the output.

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


def _saved_note(media: MediaFile, files: Iterable[str], digests: dict[str, str]) -> dict[str, Any]:
    return {"media": to_plain(media), "files": sorted(files), "digests": digests}


def _source(transcript: Transcript) -> str:
    """A hash of the texts that a translation is of."""
    return fingerprint({"texts": [segment.text for segment in transcript.segments]})


def _problem(plain: dict[str, Any]) -> Problem:
    return Problem(**plain)


def _audio(plain: dict[str, Any]) -> AudioFacts:
    return AudioFacts(**{**plain, "problems": tuple(map(_problem, plain["problems"]))})


def _window(plain: dict[str, Any]) -> WindowRecord:
    texts = {
        task: tuple(Segment(**{**each, "text": clean(each["text"])}) for each in segments)
        for task, segments in plain["texts"].items()
    }
    problem = plain["problem"] and _problem(plain["problem"])
    return WindowRecord(**{**plain, "texts": texts, "problem": problem})
