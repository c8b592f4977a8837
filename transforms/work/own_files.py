"""Ownership of the files under an output: files that no run has noted as its own are never changed or removed.

    _work/saved/<hash of the name>/<state>.json   the files of one recording, noted before they are written
    _work/published.json                          what speaks of the whole, the dataset's shards, and which kinds of
                                                  files media were ever given here; noted before a run begins

A file of a recording that is not noted is put with `put_new`, so a stranger's stays as it is whenever it came. Most
are found before any work begins, by one listing of `media/`, which also finds what somebody has deleted since.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from transforms.dataset.schema import TABLES
from transforms.dofns.threads import map_in_threads
from transforms.media.suffixes import MEDIA, suffix_of
from transforms.records import MediaFile, from_plain, to_plain
from transforms.storage import Entry, Store, join
from transforms.work.store import LEFT, RECORD, SavedNote, WorkStore, from_json, json_bytes, name_key

T = TypeVar("T")

PUBLISHED = "_work/published.json"
WHOLE = (RECORD, "report.html", "summary.json")
SHARD = re.compile(r"\d{5}-of-(\d{5})\.parquet")
LANGUAGE = re.compile(r"[a-z]{2,3}")  # between the name and the kind of a translation's file


class Published(NamedTuple):
    """The files that runs on this output have written, or were about to write."""

    files: tuple[str, ...] = ()  # of WHOLE
    shards: tuple[int, ...] = ()  # how many the dataset was cut into
    # of files of media, "srt" or "en.srt"; None where that is not known
    kinds: tuple[str, ...] | None = ()
    last: tuple[str, ...] = ()  # the kinds of the last run

    def knows(self, kind: str) -> bool:
        return self.kinds is None or kind in self.kinds

    def owns_shard(self, name: str) -> bool:
        found = SHARD.fullmatch(name)
        return found is not None and int(found[1]) in self.shards

    def with_run(self, kinds: tuple[str, ...], shards: int) -> Published:
        """This and what a run is about to write."""
        known = None if self.kinds is None else tuple(sorted({*self.kinds, *kinds}))
        return Published(WHOLE, tuple(sorted({*self.shards, shards})), known, tuple(sorted(kinds)))


class OutputContents(NamedTuple):
    """The contents of an output before a run."""

    published: Published
    foreign: tuple[str, ...]  # what speaks of the whole and shards that no run wrote
    # files below media/ that no run wrote, of the kinds that this run writes
    foreign_media: tuple[str, ...]
    gaps: dict[str, tuple[str, ...]]  # hash of a name that lacks a kind → the kinds that it has


def inspect_output(work: WorkStore, kinds: tuple[str, ...]) -> OutputContents:
    """List everything that a run might overwrite or remove: a few requests, and one listing of `media/`."""
    shards = [entry for table in TABLES for entry in work.store.list(join(work.output, table))]
    whole = [name for name in WHOLE if work.store.stat(join(work.output, name))]
    published = read_published(work, shards)
    foreign = [name for name in whole if name not in published.files]
    for entry in shards:
        name = _below_output(work, entry.uri)
        if name.endswith(".parquet") and not published.owns_shard(name.partition("/")[2]):
            foreign.append(name)
    foreign_media, gaps = _look_at_media(work, kinds, published)
    return OutputContents(published, tuple(foreign), foreign_media, gaps)


def read_published(work: WorkStore, shards: Iterable[Entry] = ()) -> Published:
    """Read published.json; for an output of a version without it, infer it from run.json.

    Of a note that cannot be read only that is known, that a run was here.
    """
    if known := _record(work, PUBLISHED, Published):
        return known
    record = _record(work, RECORD, dict[str, Any])
    is_damaged = work.store.stat(join(work.output, PUBLISHED)) is not None  # but a run was here
    if not is_damaged and (record is None or not {"run", "layers", "started"} <= record.keys()):
        return Published()
    names = (SHARD.fullmatch(entry.uri.rsplit("/", 1)[-1]) for entry in shards)
    return Published(WHOLE, tuple(sorted({int(name[1]) for name in names if name})), kinds=None)


def was_begun(work: WorkStore, published: Published, uri: str) -> bool:
    """Whether a run noted that it would write this object."""
    name = _below_output(work, uri)
    folder, _, rest = name.partition("/")
    if folder == "media":
        return any(work.states_now(name_key(media)) for media, _ in names_of(rest))
    return folder == "_work" or (folder in TABLES and published.owns_shard(rest))


def commit_published(work: WorkStore, published: Published) -> None:
    work.store.put(join(work.output, PUBLISHED), json_bytes(to_plain(published)))


def _look_at_media(
    work: WorkStore, kinds: tuple[str, ...], published: Published
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The files that no run wrote, and the names that lack a kind, where the last run wrote the same kinds."""
    seen = {key: 0 for key, states in work.list_saved().items() if states != (LEFT,)}
    if published.kinds is None and not published.last:  # what the version before left half-done is not known
        return (), {}
    bits, foreign = {kind: 1 << number for number, kind in enumerate(kinds)}, list[str]()
    folder = work.store.canonical(join(work.output, "media")) + "/"
    try:
        for entry in work.store.list(folder):
            path = entry.uri.removeprefix(folder)
            readings = [(name_key(name), kind) for name, kind in names_of(path)]
            ours = [(key, kind) for key, kind in readings if key in seen and published.knows(kind)]
            for key, kind in ours:
                seen[key] |= bits.get(kind, 0)
            if not ours and any(kind.lower() in bits for _, kind in readings):
                foreign.append(f"media/{path}")
    except PermissionError:  # what this user may not look into is no reason to stop
        return tuple(foreign), {}
    if set(published.last) != set(kinds):  # then most of what is missing was never there
        return tuple(foreign), {}
    lacking = ((key, found) for key, found in seen.items() if found != (1 << len(kinds)) - 1)
    return tuple(foreign), {key: tuple(kind for kind in kinds if found & bits[kind]) for key, found in lacking}


def names_of(path: str) -> Iterator[tuple[str, str]]:
    """The names of media, each with the kind, of which this may be a file: `a.en.srt` is one of `a` or of `a.en`."""
    name, _, kind = path.rpartition(".")
    if name:
        yield name, kind
        name, _, language = name.rpartition(".")
        if name and LANGUAGE.fullmatch(language):
            yield name, f"{language}.{kind}"


def digest_of(content: bytes | pathlib.Path) -> str:
    """32 hex digits of the content."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()[:32]
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def stored_digest(store: Store, uri: str) -> str | None:
    """The digest of an object, or None where there is none."""
    return digest_of(store.read(uri)) if store.stat(uri) else None


def owned_files(work: WorkStore, note: SavedNote, media: MediaFile) -> set[str]:
    """The files of a note that a run wrote: those noted as written, and unfinished ones with the noted content.

    The recording itself never is: a link, or another spelling of its place, may lead from the input to a file of
    ours.
    """
    named = {
        name for name in (*note.files, *note.digests) if name.startswith("media/") and ".." not in name.split("/")
    }
    places = {name: join(work.output, name) for name in sorted(named)}
    begun = named - set(note.files)
    others = {name for name in begun if stored_digest(work.store, places[name]) != note.digests[name]}
    audio = {name: work.store.stat(places[name]) for name in named - others if suffix_of(name) in MEDIA}
    return named - others - {name for name, found in audio.items() if found and found.version == media.version}


@dataclasses.dataclass
class Removed:
    """What became of the files of media that left."""

    media: int = 0
    files: int = 0
    bytes: int = 0
    # files, that somebody has changed since or of which it is not known
    kept: int = 0


def remove_departed(work: WorkStore, planned: set[str]) -> Removed:
    """Remove the files of every name that is not planned, by its hash, and note that it left."""
    gone = ((key, states) for key, states in work.list_saved().items() if key not in planned)
    total = Removed()
    there = ((key, states) for key, states in gone if set(states) != {LEFT})
    for part in map_in_threads(lambda each: remove_files(work, *each), there):
        total = Removed(*(a + b for a, b in zip(dataclasses.astuple(total), dataclasses.astuple(part), strict=True)))
    return total


def remove_files(
    work: WorkStore, key: str, states: Iterable[str], undigested: bool = False, dry_run: bool = False
) -> Removed:
    """Remove the files of one name that are as a run wrote them, and note that its recording left.

    Those that somebody changed are no longer ours, and stay. So do those of a version that noted no digests, with
    their note, unless `undigested` tells to take its word for them.
    """
    notes = {state: note for state in states if (note := work.saved_note(key, state))}
    removed, unknown = Removed(media=1), False
    for name in sorted(set[str]().union(*(owned_files(work, note, note.media) for note in notes.values()))):
        known = {note.digests[name] for note in notes.values() if name in note.digests}
        uri = join(work.output, name)
        found = work.store.stat(uri)
        if found is None:
            continue  # somebody has removed it
        if (undigested and not known) or (known and stored_digest(work.store, uri) in known):
            removed.files, removed.bytes = removed.files + 1, removed.bytes + found.size_bytes
            if not dry_run:
                work.store.delete(uri)
        else:
            removed.kept, unknown = removed.kept + 1, unknown or not known
    if notes and not unknown and not dry_run:
        work.note_left(next(iter(notes.values())).media)
        for state in set(notes) - {LEFT}:
            work.delete_saved_note(key, state)
    return removed


def _below_output(work: WorkStore, uri: str) -> str:
    return uri.removeprefix(work.store.canonical(work.output)).lstrip("/")


def _record(work: WorkStore, name: str, kind: type[T]) -> T | None:
    """What an object below the output holds, None where it is none of that kind."""
    try:
        return from_plain(kind, from_json(work.store.read(join(work.output, name))))
    except (FileNotFoundError, ValueError):
        return None
