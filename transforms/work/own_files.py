"""Whose the files under an output are: what no run has noted as its own is neither written over nor removed.

    _work/saved/<hash of the name>/<state>.json   the files of one media, noted before they are written
    _work/published.json                          what speaks of the whole, the dataset's shards, and which kinds of
                                                  files media were ever given here; noted before a run begins

A file of a media that is not noted is put with `put_new`, so a stranger's stays as it is whenever it came. Most are
found before any work begins, by one listing of `media/`, which also finds what somebody has deleted since.
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
from transforms.work.layers import LEFT, RECORD, Layers, SavedNote, from_json, json_bytes, name_key

T = TypeVar("T")

PUBLISHED = "_work/published.json"
WHOLE = (RECORD, "report.html", "summary.json")
SHARD = re.compile(r"\d{5}-of-(\d{5})\.parquet")
LANGUAGE = re.compile(r"[a-z]{2,3}")  # between the name and the kind of a translation's file


class Published(NamedTuple):
    """What runs on this output have written, or were about to."""

    files: tuple[str, ...] = ()  # of WHOLE
    shards: tuple[int, ...] = ()  # how many the dataset was cut into
    kinds: tuple[str, ...] | None = ()  # of files of media, "srt" or "en.srt"; None where that is not known
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


class Found(NamedTuple):
    """What lies under an output before a run."""

    published: Published
    foreign: tuple[str, ...]  # what speaks of the whole and shards that no run wrote
    foreign_media: tuple[str, ...]  # files below media/ that no run wrote, of the kinds that this run writes
    gaps: dict[str, tuple[str, ...]]  # hash of a name that lacks a kind → the kinds that it has


def look(layers: Layers, kinds: tuple[str, ...]) -> Found:
    """Look at everything that a run might write over or remove: a few requests, and one listing of `media/`."""
    shards = [entry for table in TABLES for entry in layers.store.list(join(layers.output, table))]
    whole = [name for name in WHOLE if layers.store.stat(join(layers.output, name))]
    published = read_published(layers, shards)
    foreign = [name for name in whole if name not in published.files]
    for entry in shards:
        name = _below_output(layers, entry.uri)
        if name.endswith(".parquet") and not published.owns_shard(name.partition("/")[2]):
            foreign.append(name)
    foreign_media, gaps = _look_at_media(layers, kinds, published)
    return Found(published, tuple(foreign), foreign_media, gaps)


def read_published(layers: Layers, shards: Iterable[Entry] = ()) -> Published:
    """What runs have noted; or, of a version that noted nothing of this, what its run.json answers for.

    Of a note that cannot be read only that is known, that a run was here.
    """
    if known := _record(layers, PUBLISHED, Published):
        return known
    record = _record(layers, RECORD, dict[str, Any])
    is_damaged = layers.store.stat(join(layers.output, PUBLISHED)) is not None  # but a run was here
    if not is_damaged and (record is None or not {"run", "layers", "started"} <= record.keys()):
        return Published()
    names = (SHARD.fullmatch(entry.uri.rsplit("/", 1)[-1]) for entry in shards)
    return Published(WHOLE, tuple(sorted({int(name[1]) for name in names if name})), kinds=None)


def was_begun(layers: Layers, published: Published, uri: str) -> bool:
    """Whether a run noted that it would write this object."""
    name = _below_output(layers, uri)
    folder, _, rest = name.partition("/")
    if folder == "media":
        return any(layers.states_now(name_key(media)) for media, _ in names_of(rest))
    return folder == "_work" or (folder in TABLES and published.owns_shard(rest))


def commit_published(layers: Layers, published: Published) -> None:
    layers.store.put(join(layers.output, PUBLISHED), json_bytes(to_plain(published)))


def _look_at_media(
    layers: Layers, kinds: tuple[str, ...], published: Published
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The files that no run wrote, and the names that lack a kind, where the last run wrote the same kinds."""
    seen = {key: 0 for key, states in layers.list_saved().items() if states != (LEFT,)}
    if published.kinds is None and not published.last:  # what the version before left half-done is not known
        return (), {}
    bits, foreign = {kind: 1 << number for number, kind in enumerate(kinds)}, list[str]()
    folder = layers.store.canonical(join(layers.output, "media")) + "/"
    try:
        for entry in layers.store.list(folder):
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


def own(layers: Layers, note: SavedNote, media: MediaFile) -> set[str]:
    """The files of a note that are ours: those that were written, and those being written that have our content.

    The media itself never is: a link, or another spelling of its place, may lead from the input to a file of ours.
    """
    named = {
        name for name in (*note.files, *note.digests) if name.startswith("media/") and ".." not in name.split("/")
    }
    places = {name: join(layers.output, name) for name in sorted(named)}
    begun = named - set(note.files)
    others = {name for name in begun if stored_digest(layers.store, places[name]) != note.digests[name]}
    audio = {name: layers.store.stat(places[name]) for name in named - others if suffix_of(name) in MEDIA}
    return named - others - {name for name, found in audio.items() if found and found.version == media.version}


@dataclasses.dataclass
class Removed:
    """What became of the files of media that left."""

    media: int = 0
    files: int = 0
    bytes: int = 0
    kept: int = 0  # files, that somebody has changed since or of which it is not known


def remove_departed(layers: Layers, planned: set[str]) -> Removed:
    """Remove the files of every name that is not planned, by its hash, and note that it left."""
    gone = ((key, states) for key, states in layers.list_saved().items() if key not in planned)
    total = Removed()
    there = ((key, states) for key, states in gone if set(states) != {LEFT})
    for part in map_in_threads(lambda each: remove_files(layers, *each), there):
        total = Removed(*(a + b for a, b in zip(dataclasses.astuple(total), dataclasses.astuple(part), strict=True)))
    return total


def remove_files(
    layers: Layers, key: str, states: Iterable[str], undigested: bool = False, dry_run: bool = False
) -> Removed:
    """Remove the files of one name that are as a run wrote them, and note that its media left.

    Those that somebody changed are no longer ours, and stay. So do those of a version that noted no digests, with
    their note, unless `undigested` tells to take its word for them.
    """
    notes = {state: note for state in states if (note := layers.saved_note(key, state))}
    removed, unknown = Removed(media=1), False
    for name in sorted(set[str]().union(*(own(layers, note, note.media) for note in notes.values()))):
        known = {note.digests[name] for note in notes.values() if name in note.digests}
        uri = join(layers.output, name)
        found = layers.store.stat(uri)
        if found is None:
            continue  # somebody has removed it
        if (undigested and not known) or (known and stored_digest(layers.store, uri) in known):
            removed.files, removed.bytes = removed.files + 1, removed.bytes + found.size_bytes
            if not dry_run:
                layers.store.delete(uri)
        else:
            removed.kept, unknown = removed.kept + 1, unknown or not known
    if notes and not unknown and not dry_run:
        layers.note_left(next(iter(notes.values())).media)
        for state in set(notes) - {LEFT}:
            layers.forget_saved(key, state)
    return removed


def _below_output(layers: Layers, uri: str) -> str:
    return uri.removeprefix(layers.store.canonical(layers.output)).lstrip("/")


def _record(layers: Layers, name: str, kind: type[T]) -> T | None:
    """What an object below the output holds, None where it is none of that kind."""
    try:
        return from_plain(kind, from_json(layers.store.read(join(layers.output, name))))
    except (FileNotFoundError, ValueError):
        return None
