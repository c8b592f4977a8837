"""CollectMedia: the `--input` values → MediaFile, one for each media, or DeadLetter for what is not there.

A value is a media file, a folder (searched through, known media suffixes), a pattern, or a manifest. A media named
twice is taken once. Nothing is opened but manifests, pointers, and what may be a text under a recording's suffix.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import apache_beam as beam

from transforms.dead_letters import MediaError, attempt, dead_letter
from transforms.dofns.figures import COLLECT
from transforms.dofns.metrics import UNWATCHED, StepMetrics, Watch
from transforms.dofns.threads import ahead
from transforms.engines.languages import WHISPER
from transforms.inputs import folders
from transforms.inputs.folders import Listed, Search, Skipped, Tally
from transforms.inputs.manifests import MANIFEST_SUFFIXES, Row, read_manifest
from transforms.inputs.names import file_name, name_alike, octets, tail_of, with_folders, with_tail
from transforms.inputs.placeholders import LARGEST_BYTES, leads_nowhere, stands_for
from transforms.inputs.rows import Named, read_row, shared_ids, tidy
from transforms.media.suffixes import MEDIA, suffix_of
from transforms.records import DeadLetter, MediaFile
from transforms.storage import Entry, StorageError, Store, Stores, join, without_secrets
from transforms.work.layers import Layers, source_id

Found = MediaFile | DeadLetter
Group = tuple[str, Iterable[Found]]


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Where media are looked for."""

    values: tuple[str, ...]
    stores: Stores = dataclasses.field(default_factory=Stores)
    layers: Layers | None = None  # of the output: what a run wrote is no input, and who has a name keeps it
    keep_missing: bool = False  # media that the layers hold stay, though they left the input
    suffixes: tuple[str, ...] = ()  # beside the known ones
    languages: frozenset[str] = WHISPER  # codes that the model can be told

    @property
    def search(self) -> Search:
        return Search(self.stores, MEDIA.union(self.suffixes), self.layers)


@dataclasses.dataclass
class CollectMedia(beam.PTransform):
    """List the media of all inputs, each once, each with an id and a name that no other media has."""

    inputs: Inputs
    watch: Watch = UNWATCHED

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[Found]:
        found = (
            begin
            | "Start" >> beam.Impulse()
            | "List" >> beam.ParDo(ListInputs(self.inputs, self.watch)).with_output_types(Found)
        )
        for what, key, settle in SETTLED:
            found = (
                found
                | f"KeyBy{what}" >> beam.Map(keyed, key).with_output_types(tuple[str, Found])
                | f"GroupBy{what}" >> beam.GroupByKey()
                | f"Settle{what}" >> beam.FlatMap(settle, self.inputs.layers).with_output_types(Found)
            )
        return found | "Count" >> beam.ParDo(CountMedia(self.watch)).with_output_types(Found)


class ListInputs(beam.DoFn):
    """Lists all inputs, counts what they name, and notes what was passed over."""

    def __init__(self, inputs: Inputs, watch: Watch) -> None:
        self._inputs, self._watch = inputs, watch

    def setup(self) -> None:
        self._metrics = StepMetrics(COLLECT, self._watch)

    def process(self, start: bytes) -> Iterator[Found]:
        tally = Tally()
        with self._metrics.timed():
            for found in list_inputs(start, self._inputs):
                if isinstance(found, Skipped):
                    tally.add(found)
                    continue
                self._metrics.count(elements_in=1)
                yield found
            if self._inputs.layers and self._inputs.layers.run:
                self._inputs.layers.commit_skipped(tally.figures())


class CountMedia(beam.DoFn):
    """Counts media that leave the step, each once."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def setup(self) -> None:
        self._metrics = StepMetrics(COLLECT, self._watch)

    def process(self, found: Found) -> list[Found]:
        self._metrics.count(elements_out=1, failed=isinstance(found, DeadLetter))
        return [found]


def list_inputs(_: bytes, inputs: Inputs) -> Iterator[Found | Skipped]:
    """Everything that the inputs name, and the media of earlier runs where those are to stay.

    They are an argument and not elements of a beam.Create, whose coder fails on a name that is no UTF-8.
    """
    for value in inputs.values:
        yield from list_input(value, inputs.stores, inputs.search, inputs.languages)
    if inputs.layers is not None and inputs.keep_missing:
        inventory = inputs.layers.inventory()
        kept = (media._replace(kept=True) for media in inputs.layers.saved_media())
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
        return dead_letter("CollectMedia", found.media, leads_nowhere(target)) if target else found
    if not 0 < found.size_bytes <= LARGEST_BYTES:
        return found
    try:
        content = stores.serving(found.uri).read_range(found.uri, 0, found.size_bytes, found.version)
    except OSError:
        return found  # decoding will tell what is the matter
    error = stands_for(found.uri, content)
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


def keyed(found: Found, key: Callable[[Found], str]) -> tuple[str, Found]:
    return key(found), found


def _media_of(found: Found) -> MediaFile:
    return found.media if isinstance(found, DeadLetter) else found


def by_media(found: Found) -> str:
    return _media_of(found).media_id


def by_id(found: Found) -> str:
    return _hashed(_media_of(found).id)


def by_name(found: Found) -> str:
    """The same for media whose files could get in each other's way."""
    return _hashed(name_alike(_plain_name(found)))


def take_once(group: Group, layers: Layers | None = None) -> Iterator[Found]:
    """One of the same media: one that is there, then one whose language a manifest gives, then the first by id.

    One that is kept from an earlier run stands behind all that were listed.
    """
    yield min(group[1], key=_preference)


def _preference(found: Found) -> tuple[bool, bool, bool, str]:
    if isinstance(found, DeadLetter):
        return True, True, True, repr(found)
    return False, found.kept, not found.language, repr(found)


def tell_apart(group: Group, layers: Layers | None = None) -> Iterator[Found]:
    """Media of several inputs that have one id, each with as many of its folders before it as tell it apart.

    One that an earlier run saved under the id keeps it: whatever else comes to the input renames nothing.
    """
    members = list(group[1])
    if len(members) == 1:
        yield members[0]
        return
    first = _first_there(members, layers)
    longer = with_folders(_media_of(members[0]).id, [_media_of(each).uri for each in members])
    for member in members:
        yield member if member is first else _renamed(member, longer[_media_of(member).uri])


def give_names(group: Group, layers: Layers | None = None) -> Iterator[Found]:
    """Name each media's files after it, with a part of its media_id where it is not alone.

    One that an earlier run saved under its plain name keeps that. What still has the id of another gets the same part
    into its id.
    """
    members = sorted(group[1], key=lambda each: by_media(each))
    there = [member for member in members if isinstance(member, MediaFile)]
    first = there[0] if len(there) == 1 else _first_there(there, layers)
    ids, all_ids = Counter(_media_of(each).id for each in members), [by_media(each) for each in members]
    for member in members:
        media = _media_of(member)
        tail = "" if member is first else tail_of(media.media_id, all_ids)
        told = _renamed(member, with_tail(media.id, tail)) if ids[media.id] > 1 else member
        yield told if isinstance(told, DeadLetter) else told._replace(name=_plain_name(member) + tail)


def _first_there(members: Sequence[Found], layers: Layers | None) -> Found | None:
    """Of several, the one whose files lie under its plain name since an earlier run."""
    if layers is None or len(members) < 2:
        return None
    there = (each for each in sorted(members, key=by_media) if by_media(each) in layers.saved_by(_plain_name(each)))
    return next(there, None)


def _plain_name(found: Found) -> str:
    return file_name(_media_of(found).id)


def _renamed(found: Found, media: str) -> Found:
    if isinstance(found, DeadLetter):
        return found._replace(media=found.media._replace(id=media))
    return found._replace(id=media)


def _hashed(text: str) -> str:
    """A key for grouping: keys are bytes that every runner has to agree on, and an id may be no UTF-8."""
    return hashlib.sha256(octets(text)).hexdigest()


class Step(NamedTuple):
    """A way in which media are brought together, and what becomes of each group."""

    what: str
    key: Callable[[Found], str]
    settle: Callable[[Group, Layers | None], Iterator[Found]]


SETTLED = (Step("Media", by_media, take_once), Step("Id", by_id, tell_apart), Step("Name", by_name, give_names))


def named(found: Iterable[Found], layers: Layers | None = None) -> Iterator[Found]:
    """The media as the step gives them, each once and with its name: what `expand` does, for a listing in memory."""
    for _, key, settle in SETTLED:
        groups: dict[str, list[Found]] = defaultdict(list)
        for each in found:
            groups[key(each)].append(each)
        found = [each for group in groups.items() for each in settle(group, layers)]
    yield from found


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


def _nothing(store: Store, uri: str, code: str, passed_over: str = "") -> DeadLetter:
    place = store.canonical(uri)
    detail = f"{place}: passed over {passed_over}" if passed_over else place
    return dead_letter("CollectMedia", _unknown(place, uri), MediaError(code, detail))
