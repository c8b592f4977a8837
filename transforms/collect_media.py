"""CollectMedia: the `--input` values → MediaFile, one for each media, or DeadLetter for what is not there.

A value is a media file, a folder (searched through, known media suffixes), a pattern, or a manifest. A media named
twice is taken once. Nothing is opened but manifests.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal

import apache_beam as beam

from transforms.ahead import ahead
from transforms.dead_letters import MediaError, attempt, dead_letter
from transforms.inputs.manifests import MANIFEST_SUFFIXES, Row, read_manifest
from transforms.inputs.names import file_name
from transforms.inputs.rows import Named, read_row, shared_ids, tidy
from transforms.layers import Layers, source_id
from transforms.media.suffixes import MEDIA, suffix_of
from transforms.metrics import COLLECT, UNWATCHED, StepMetrics, Watch
from transforms.models.languages import WHISPER
from transforms.records import DeadLetter, MediaFile
from transforms.storage import Entry, StorageError, Store, Stores, join, without_secrets

Found = MediaFile | DeadLetter


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Where media are looked for."""

    values: tuple[str, ...]
    stores: Stores = dataclasses.field(default_factory=Stores)
    kept: Layers | None = None  # media that these layers hold stay, though they left the input
    languages: frozenset[str] = WHISPER  # codes that the model can be told


@dataclasses.dataclass
class CollectMedia(beam.PTransform):
    """List the media of all inputs, each once, each with a name that no other media has."""

    inputs: Inputs
    watch: Watch = UNWATCHED

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Found]:
        return (
            begin
            | "Start" >> beam.Impulse()
            | "List" >> beam.ParDo(ListInputs(self.inputs, self.watch)).with_output_types(Found)
            | "KeyByMedia" >> beam.Map(keyed_by_media).with_output_types(tuple[str, Found])
            | "GroupByMedia" >> beam.GroupByKey()
            | "TakeOnce" >> beam.Map(take_once).with_output_types(Found)
            | "KeyByName" >> beam.Map(keyed_by_name).with_output_types(tuple[str, Found])
            | "GroupByName" >> beam.GroupByKey()
            | "GiveNames" >> beam.ParDo(GiveNames(self.watch)).with_output_types(Found)
        )


class ListInputs(beam.DoFn):
    """Lists all inputs, and counts what they name."""

    def __init__(self, inputs: Inputs, watch: Watch) -> None:
        self._inputs, self._watch = inputs, watch

    def setup(self) -> None:
        self._metrics = StepMetrics(COLLECT, self._watch)

    def process(self, start: bytes) -> Iterator[Found]:
        with self._metrics.timed():
            for found in list_inputs(start, self._inputs):
                self._metrics.count(elements_in=1)
                yield found


class GiveNames(beam.DoFn):
    """Names media, and counts those that leave the step, each once."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def setup(self) -> None:
        self._metrics = StepMetrics(COLLECT, self._watch)

    def process(self, group: tuple[str, Iterable[Found]]) -> Iterator[Found]:
        for found in give_names(group):
            self._metrics.count(elements_out=1, failed=isinstance(found, DeadLetter))
            yield found


def list_inputs(_: bytes, inputs: Inputs) -> Iterator[Found]:
    """Everything that the inputs name, and the media of earlier runs where those are to stay.

    They are an argument and not elements of a beam.Create, whose coder fails on a name that is no UTF-8.
    """
    for value in inputs.values:
        yield from list_input(value, inputs.stores, inputs.languages)
    if inputs.kept is not None:
        inventory = inputs.kept.inventory()
        kept = (media._replace(kept=True) for media in inputs.kept.saved_media())
        yield from (media for media in kept if inventory.complete(source_id(media)))


def list_input(value: str, stores: Stores, languages: frozenset[str] = WHISPER) -> Iterator[Found]:
    """Everything that one `--input` value names, in order of name; what a manifest says in one of the languages.

    A name that exists is taken literally, whatever characters it has; only another may be a pattern.
    """
    store = stores.serving(value)
    place = store.canonical(value)
    unknown = _unknown(place, value)
    found = attempt("CollectMedia", unknown, lambda: _look_up(value, stores))
    if isinstance(found, DeadLetter):
        yield found
    elif found == "folder":
        yield from _in_folder(store, value)
    elif found is not None and suffix_of(value) in MANIFEST_SUFFIXES:
        yield from _in_manifest(store, found, stores, languages)
    elif found is not None:
        yield media_file(found, found.uri.rsplit("/", 1)[-1])
    elif re.search(r"[*?\[]", value):
        yield from _matching(store, value)
    else:
        yield _nothing(store, value, "missing")


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
    return hashlib.sha256(canonical_uri.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def keyed_by_media(found: Found) -> tuple[str, Found]:
    return (found.media if isinstance(found, DeadLetter) else found).media_id, found


def take_once(group: tuple[str, Iterable[Found]]) -> Found:
    """One of the same media: one that is there, then one whose language a manifest gives, then the first by id.

    One that is kept from an earlier run stands behind all that were listed.
    """
    return min(group[1], key=_preference)


def _preference(found: Found) -> tuple[bool, bool, bool, str]:
    if isinstance(found, DeadLetter):
        return True, True, True, repr(found)
    return False, found.kept, not found.language, repr(found)


def keyed_by_name(found: Found) -> tuple[str, Found]:
    """Media whose files could get in each other's way have the same key.

    `a.mp4` and `a.mp3` would both write `a.srt`; `a.en.mp4` would write the `a.en.srt` that holds a's translation;
    and some file systems tell neither case nor Unicode's normal forms apart.
    """
    media = found.media if isinstance(found, DeadLetter) else found
    stem = re.sub(r"\.[a-z]{2,3}$", "", file_name(media.id).casefold())
    key = unicodedata.normalize("NFC", stem).encode("utf-8", "surrogateescape")
    return hashlib.sha256(key).hexdigest(), found


def give_names(group: tuple[str, Iterable[Found]]) -> Iterator[Found]:
    """Name each media's files after it, with a part of its media_id where it is not alone."""
    members = list(group[1])
    alone = sum(isinstance(member, MediaFile) for member in members) < 2
    for member in members:
        if isinstance(member, DeadLetter):
            yield member
        else:
            name = file_name(member.id)
            yield member._replace(name=name if alone else f"{name}~{member.media_id[:8]}")


def named(found: Iterable[Found]) -> Iterator[Found]:
    """The media as the step gives them, each once and with its name: what `expand` does, for a listing in memory."""
    for key in (keyed_by_media, keyed_by_name):
        groups: dict[str, list[Found]] = defaultdict(list)
        for name, each in map(key, found):
            groups[name].append(each)
        if key is keyed_by_media:
            found = list(map(take_once, groups.items()))
    for group in groups.items():
        yield from give_names(group)


def _in_folder(store: Store, folder: str) -> Iterator[Found]:
    root, any_found = store.canonical(folder), False
    try:
        for entry in store.list(folder):
            if suffix_of(entry.uri) in MEDIA:
                any_found = True
                yield media_file(entry, entry.uri.removeprefix(root).lstrip("/"))
    except OSError as error:
        yield _closed(store, folder, error)
        return
    if not any_found:
        yield _nothing(store, folder, "no_match")


def _closed(store: Store, uri: str, error: OSError) -> DeadLetter:
    media = _unknown(store.canonical(uri), uri)
    return dead_letter("CollectMedia", media, MediaError("unreadable", str(error)))


def _matching(store: Store, pattern: str) -> Iterator[Found]:
    """What a pattern matches; one that ends in a bare `*` takes known media suffixes only."""
    root = store.canonical(re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0] or ".")
    last, any_found = pattern.rsplit("/", 1)[-1], False
    try:
        for entry in store.glob(pattern):
            if "." in last or suffix_of(entry.uri) in MEDIA:
                any_found = True
                yield media_file(entry, entry.uri.removeprefix(root).lstrip("/"))
    except OSError as error:
        yield _closed(store, pattern, error)
        return
    if not any_found:
        yield _nothing(store, pattern, "no_match")


def _in_manifest(store: Store, manifest: Entry, stores: Stores, languages: frozenset[str]) -> Iterator[Found]:
    """The media of a manifest. A path in it counts from the manifest's own folder."""
    here = media_file(manifest, manifest.uri.rsplit("/", 1)[-1])
    rows = attempt("CollectMedia", here, lambda: read_manifest(_content(store, manifest), manifest.uri))
    if isinstance(rows, DeadLetter):
        yield rows
        return
    named = [(row, _named(row, here, languages)) for row in rows]
    shared = shared_ids(each for _, each in named if isinstance(each, Named))
    empty = True
    for found in ahead(lambda each: _in_row(*each, here, shared, stores), named):
        if found is not None:
            empty = False
            yield found
    if empty:
        yield dead_letter("CollectMedia", here, MediaError("bad_manifest", "it has no rows"))


def _named(row: Row, manifest: MediaFile, languages: frozenset[str]) -> Named | DeadLetter:
    place = f"{manifest.uri}#{row.number}"
    lost = manifest._replace(media_id=media_id(place), id=f"{manifest.id} row {row.number}")
    return attempt("CollectMedia", lost, lambda: read_row(row, languages))


def _in_row(
    row: Row, named: Named | DeadLetter, manifest: MediaFile, shared: frozenset[str], stores: Stores
) -> Found | None:
    """The media of one row of a manifest; None where the row is a remark."""
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


def _of_row(media: MediaFile, path: str, named: Named, shared: frozenset[str]) -> MediaFile:
    """The media with what its row says of it; ids that more than one media has are told apart."""
    identity = media_id(media.uri + named.part) if named.part else media.media_id
    name = named.id or without_secrets(tidy(path)) + named.part
    return media._replace(
        media_id=identity,
        id=f"{name}~{identity[:8]}" if named.plain_id in shared else name,
        language=named.language,
        start_s=named.start_s,
        length_s=named.length_s,
    )


def _why_missing(named: Named, place: str, is_folder: bool) -> str:
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


def _nothing(store: Store, uri: str, code: str) -> DeadLetter:
    place = store.canonical(uri)
    return dead_letter("CollectMedia", _unknown(place, uri), MediaError(code, place))
