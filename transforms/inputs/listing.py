"""What the inputs name: files, folders, patterns and manifests → MediaFile, or DeadLetter for what is not there."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterator
from typing import Literal

from transforms.dead_letters import MediaError, attempt, dead_letter
from transforms.dofns.threads import map_in_threads
from transforms.engines.languages import WHISPER
from transforms.inputs import folders
from transforms.inputs.folders import Listed, Search, Skipped, Tally
from transforms.inputs.manifests import MANIFEST_SUFFIXES, Row, read_manifest
from transforms.inputs.names import octets
from transforms.inputs.placeholders import LARGEST_BYTES, broken_link_error, placeholder_error
from transforms.inputs.rows import ManifestEntry, read_row, shared_ids, tidy
from transforms.media.suffixes import MEDIA, suffix_of
from transforms.records import DeadLetter, MediaFile
from transforms.storage import Entry, StorageError, Store, Stores, join, without_secrets
from transforms.work.store import WorkStore, source_id

Found = MediaFile | DeadLetter


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Where media are looked for."""

    values: tuple[str, ...]
    stores: Stores = dataclasses.field(default_factory=Stores)
    # of the output: what a run wrote is no input, and who has a name keeps it
    work: WorkStore | None = None
    # media that the layers hold stay, though they left the input
    keep_missing: bool = False
    suffixes: tuple[str, ...] = ()  # beside the known ones
    languages: frozenset[str] = WHISPER  # codes that the model can be told

    @property
    def search(self) -> Search:
        return Search(self.stores, MEDIA.union(self.suffixes), self.work)


def list_inputs(_: bytes, inputs: Inputs) -> Iterator[Found | Skipped]:
    """Everything that the inputs name, and the media of earlier runs where those are to stay.

    They are an argument and not elements of a beam.Create, whose coder fails on a name that is no UTF-8.
    """
    for value in inputs.values:
        yield from list_input(value, inputs.stores, inputs.search, inputs.languages)
    if inputs.work is not None and inputs.keep_missing:
        inventory = inputs.work.inventory()
        kept = (media._replace(kept=True) for media in inputs.work.saved_media())
        yield from (media for media in kept if inventory.complete(source_id(media)))


def list_input(
    value: str, stores: Stores, search: Search | None = None, languages: frozenset[str] = WHISPER
) -> Iterator[Found | Skipped]:
    """Everything that one `--input` value names, in order of name; what a manifest says in one of the languages.

    A name that exists is taken literally, whatever characters it has; only another may be a pattern.
    """
    for found in _named_by(value, stores, search or Search(stores), languages):
        yield found if isinstance(found, Skipped) else _with_content(found, stores)


def _named_by(value: str, stores: Stores, search: Search, languages: frozenset[str]) -> Iterator[Found | Skipped]:
    store = stores.serving(value)
    place = store.canonical(value)
    unknown = _unknown(place, value)
    found = attempt("CollectMedia", unknown, lambda: _look_up(value, stores))
    if isinstance(found, DeadLetter):
        yield found
    elif found == "folder":
        yield from _searched(store, value, folders.in_folder(store, value, search))
    elif found is not None and suffix_of(value) in MANIFEST_SUFFIXES:
        yield from _in_manifest(store, found, stores, languages)
    elif found is not None:
        yield media_file(found, found.uri.rsplit("/", 1)[-1])
    elif store.link(value):
        yield _nothing(store, value, "missing")
    elif re.search(r"[*?\[]", value):
        yield from _searched(store, value, folders.matching(store, value, search))
    else:
        yield _nothing(store, value, "missing")


def _with_content(found: Found, stores: Stores) -> Found:
    """What was found, or the letter of a pointer or a link whose content was never fetched."""
    if isinstance(found, DeadLetter):
        target = _link(found.media.uri, stores) if found.code == "missing" else ""
        return dead_letter("CollectMedia", found.media, broken_link_error(target)) if target else found
    if not 0 < found.size_bytes <= LARGEST_BYTES:
        return found
    try:
        content = stores.serving(found.uri).read_range(found.uri, 0, found.size_bytes, found.version)
    except OSError:
        return found  # decoding will tell what is the matter
    error = placeholder_error(found.uri, content)
    return dead_letter("CollectMedia", found, error) if error else found


def _link(uri: str, stores: Stores) -> str:
    try:
        return stores.serving(uri).link(uri)
    except StorageError:
        return ""


def _look_up(uri: str, stores: Stores) -> Entry | Literal["folder"] | None:
    """The object, "folder" for a folder, or None where there is neither.

    Raises:
        MediaError: it may be there, but cannot be reached.
    """
    try:
        store = stores.serving(uri)
    except StorageError as error:
        raise MediaError("missing", str(error)) from error
    try:
        return store.stat(uri) or ("folder" if store.is_folder(uri) else None)
    except OSError as error:
        raise MediaError("unreadable", str(error)) from error


def media_file(entry: Entry, name: str, language: str = "") -> MediaFile:
    """The record of one listed object."""
    return MediaFile(media_id(entry.uri), name, entry.uri, entry.version, entry.size_bytes, language)


def _unknown(place: str, name: str) -> MediaFile:
    """The record of what was named and not found, for its letter."""
    return MediaFile(media_id(place), name, place, "")


def media_id(canonical_uri: str) -> str:
    """32 hex digits of the URI: the same media under whichever input it is found."""
    return hashlib.sha256(octets(canonical_uri)).hexdigest()[:32]


def _searched(store: Store, place: str, listing: Iterator[Listed | Skipped]) -> Iterator[Found | Skipped]:
    """What a listing gives, and a letter where it gives no media, or could not be read to its end."""
    any_found, passed_over = False, Tally()
    try:
        for each in listing:
            if isinstance(each, Skipped):
                passed_over.add(each)
                yield each
                continue
            any_found = True
            if each.entry:
                yield media_file(each.entry, each.name)
            else:
                yield dead_letter("CollectMedia", _unknown(each.uri, each.name), MediaError("missing", each.uri))
    except OSError as error:
        yield _closed(store, place, error)
        return
    if not any_found:
        yield _nothing(store, place, "no_match", passed_over.words())


def _closed(store: Store, uri: str, error: OSError) -> DeadLetter:
    media = _unknown(store.canonical(uri), uri)
    return dead_letter("CollectMedia", media, MediaError("unreadable", str(error)))


def _in_manifest(store: Store, manifest: Entry, stores: Stores, languages: frozenset[str]) -> Iterator[Found]:
    """The media of a manifest. A path in it counts from the manifest's own folder."""
    here = media_file(manifest, manifest.uri.rsplit("/", 1)[-1])
    rows = attempt("CollectMedia", here, lambda: read_manifest(_content(store, manifest), manifest.uri))
    if isinstance(rows, DeadLetter):
        yield rows
        return
    named = [(row, _named(row, here, languages)) for row in rows]
    shared = shared_ids(each for _, each in named if isinstance(each, ManifestEntry))
    empty = True
    for found in map_in_threads(lambda each: _in_row(*each, here, shared, stores), named):
        if found is not None:
            empty = False
            yield found
    if empty:
        yield dead_letter("CollectMedia", here, MediaError("bad_manifest", "it has no rows"))


def _named(row: Row, manifest: MediaFile, languages: frozenset[str]) -> ManifestEntry | DeadLetter:
    place = f"{manifest.uri}#{row.number}"
    lost = manifest._replace(media_id=media_id(place), id=f"{manifest.id} row {row.number}")
    return attempt("CollectMedia", lost, lambda: read_row(row, languages))


def _in_row(
    row: Row, named: ManifestEntry | DeadLetter, manifest: MediaFile, shared: frozenset[str], stores: Stores
) -> Found | None:
    """The recording of one row of a manifest; None where the row is a remark."""
    if isinstance(named, DeadLetter):
        return named
    folder = manifest.uri.rpartition("/")[0]
    for path in named.paths:
        target = path if "://" in path or path.startswith(("/", "~")) else join(folder, path)
        place = _canonical(target, stores)
        media = _of_row(_unknown(place, ""), path, named, shared)
        entry = attempt("CollectMedia", media, functools.partial(_look_up, target, stores))
        if isinstance(entry, Entry):
            return _of_row(media_file(entry, ""), path, named, shared)
        if isinstance(entry, DeadLetter):
            return entry
    if row.remark:
        return None
    wrong = _why_missing(named, place, entry == "folder")
    return dead_letter("CollectMedia", media, MediaError("missing", f"row {row.number}: {wrong}"))


def _of_row(media: MediaFile, path: str, named: ManifestEntry, shared: frozenset[str]) -> MediaFile:
    """The recording with what its row says of it; ids that more than one recording has are told apart."""
    identity = media_id(media.uri + named.part) if named.part else media.media_id
    name = named.id or without_secrets(tidy(path)) + named.part
    return media._replace(
        media_id=identity,
        id=f"{name}~{identity[:8]}" if named.plain_id in shared else name,
        language=named.language,
        start_s=named.start_s,
        length_s=named.length_s,
    )


def _why_missing(named: ManifestEntry, place: str, is_folder: bool) -> str:
    if is_folder:
        return f"{place} is a folder: name its files, or give the folder to --input"
    if named.inside:
        return f"{place}; the table holds the audio itself: write it to files, and name those"
    if re.search("[\udc80-\udcff]", place):
        return f"{place}; it is not UTF-8: save the manifest as UTF-8"
    if re.search(r"[*?\[]", place):
        return f"{place}; a manifest takes no patterns: give it to --input"
    return place


def _canonical(uri: str, stores: Stores) -> str:
    try:
        return stores.serving(uri).canonical(uri)
    except StorageError:
        return without_secrets(uri)


def _content(store: Store, manifest: Entry) -> bytes:
    try:
        return store.read(manifest.uri)
    except OSError as error:
        raise MediaError("unreadable", str(error)) from error


def _nothing(store: Store, uri: str, code: str, passed_over: str = "") -> DeadLetter:
    place = store.canonical(uri)
    detail = f"{place}: passed over {passed_over}" if passed_over else place
    return dead_letter("CollectMedia", _unknown(place, uri), MediaError(code, detail))
