"""Filters the files of a folder or a pattern: no litter, and nothing that a run wrote itself.

What is passed over is told of as `Skipped`, each with its reason, and no run fails for it. Names decide; of a few
files the first bytes do, and those are read side by side.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from transforms.dofns.threads import map_in_threads
from transforms.inputs.placeholders import ICLOUD
from transforms.media.suffixes import IN_PROGRESS, MEDIA, TEXTS_TOO, suffix_of
from transforms.storage import Entry, Store, Stores, join
from transforms.work.store import RECORD, WorkStore

REASONS = {
    "apple_double": "What macOS writes beside each file on disks that are not its own: `._talk.mp3`, `__MACOSX`.",
    "hidden": "A name, or a folder's, that begins with a dot.",
    "in_progress": "A download that is not complete: `talk.mp3.part`, and `talk.mp3` or its pieces beside it.",
    "linked_folder": "A link to a folder: it might lead back. Name what it leads to as an `--input` of its own.",
    "not_by_suffix": "A suffix that is in no list of this page; counted by suffix.",
    "other_content": "A text under the suffix of a recording: TypeScript or Qt's translations in a `.ts`, `go.mod`.",
    "output": "What a run wrote: all below this run's `--output`, and `_work` and kept audio of any other.",
    "packages": "Below `node_modules`.",
    "system": "What a NAS or Windows keeps for itself: `@eaDir`, `#snapshot`, `System Volume Information`.",
    "trash": "What somebody deleted: `.Trash-1000`, `$RECYCLE.BIN`, `#recycle`.",
    "version_control": "Below `.git`, `.hg` or `.svn`.",
}
BY_SUFFIX, UNDER_WAY, APPLE = "not_by_suffix", "in_progress", "apple_double"
FOLDERS = {
    "__macosx": APPLE,
    "node_modules": "packages",
    **dict.fromkeys((".git", ".hg", ".svn", ".bzr"), "version_control"),
    **dict.fromkeys(
        ("@eadir", "@tmp", "#snapshot", ".snapshot", "system volume information", "lost+found"), "system"
    ),
    **dict.fromkeys(("$recycle.bin", "recycler", "recycled", "#recycle", "@recycle", ".recycle"), "trash"),
}
PIECE = re.compile(r"\.f(?:\d|hls|dash|http)[\w=-]*\.\w+$")  # of a video that yt-dlp is putting together
HEAD_BYTES = 1024  # tell text from a recording
WRITTEN = {"media", "transcripts", "segments", "dead_letters", "summary.json", "run.json", "report.html"}
KEPT_SUFFIX = ".opus"  # the one kind of recording that a run writes
SUFFIXES_COUNTED, SUFFIX_LENGTH = 40, 12  # others are counted as one
NAMES_SHOWN = 3


class Skipped(NamedTuple):
    """Something that is no input."""

    reason: str
    name: str  # as the id of a recording would be


class Listed(NamedTuple):
    """A recording that is there, or the link to one that is not."""

    name: str  # its path from the place that was searched
    uri: str
    entry: Entry | None


@dataclasses.dataclass(frozen=True)
class Search:
    """What counts as a recording, and whose output is none."""

    stores: Stores = dataclasses.field(default_factory=Stores)
    suffixes: frozenset[str] = MEDIA
    work: WorkStore | None = None  # of the run's own output


def in_folder(store: Store, folder: str, search: Search) -> Iterator[Listed | Skipped]:
    """What is below a folder.

    Raises:
        OSError: a part of it cannot be read; raised when everything else has been told of.
    """
    sieve = _InputFilter(store, store.canonical(folder), search)
    for uri in store.links(folder):
        yield from sieve.link(uri)
    yield from sieve.classify(store.list(folder))


def matching(store: Store, pattern: str, search: Search) -> Iterator[Listed | Skipped]:
    """What a pattern matches; one that ends in a bare `*` takes known suffixes only.

    Raises:
        OSError: a part of it cannot be read; raised when everything else has been told of.
    """
    root = store.canonical(re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0] or ".")
    sieve = _InputFilter(store, root, search, any_suffix="." in pattern.rsplit("/", 1)[-1], hidden_is_meant=True)
    for uri in store.links(pattern, pattern=True):
        yield from sieve.link(uri)
    yield from sieve.classify(store.glob(pattern))


class _InputFilter:
    """Classifies each file of one listing as a recording or as skipped."""

    def __init__(
        self, store: Store, root: str, search: Search, any_suffix: bool = False, hidden_is_meant: bool = False
    ) -> None:
        self._store, self._root, self._search = store, root, search
        self._any_suffix, self._hidden_is_meant = any_suffix, hidden_is_meant
        self._output = search.work.output if search.work else ""
        self._is_output = functools.cache(self._look_for_output)

    def classify(self, entries: Iterator[Entry]) -> Iterator[Listed | Skipped]:
        errors: list[OSError] = []
        yield from filter(None, map_in_threads(self._classify, _settled(_until_error(entries, errors))))
        for error in errors:
            raise error

    def link(self, uri: str) -> Iterator[Listed | Skipped]:
        """What a link is that leads to no file."""
        name, reason = self._name(uri), self._by_name(uri, False)
        is_litter = bool(self._litter(name) or self._written(uri))
        if self._store.is_folder(uri):
            if not is_litter:
                yield Skipped("linked_folder", name)
        elif not reason:
            yield Listed(name, uri, None)
        elif reason != BY_SUFFIX or not is_litter:
            yield Skipped(reason, name)

    def _classify(self, found: tuple[Entry, bool]) -> Listed | Skipped | None:
        entry, under_way = found
        name, reason = self._name(entry.uri), self._by_name(entry.uri, under_way)
        if not reason and entry.size_bytes and suffix_of(name) in TEXTS_TOO and self._is_text(entry):
            reason = "other_content"
        if not reason:
            return Listed(name, entry.uri, entry)
        # Of litter only what looks like a recording is told of: a web project has thousands of other files.
        if reason == BY_SUFFIX and (self._litter(name) or self._is_a_table(entry.uri) or self._written(entry.uri)):
            return None
        return Skipped(reason, name)

    def _by_name(self, uri: str, under_way: bool) -> str:
        """Why the name is that of no recording; "" where it is one."""
        name = ICLOUD.sub(r"\1\2", self._name(uri))
        suffix = suffix_of(name)
        if suffix in IN_PROGRESS and suffix_of(name[: -len(suffix)]) in self._search.suffixes:
            return self._litter(name) or UNDER_WAY
        if not self._any_suffix and suffix not in self._search.suffixes:
            return BY_SUFFIX
        litter = self._litter(name) or ("output" if self._written(uri) else "")
        return litter or (UNDER_WAY if under_way else "")

    def _name(self, uri: str) -> str:
        return uri.removeprefix(self._root).lstrip("/")

    def _litter(self, name: str) -> str:
        folder, _, last = name.rpartition("/")
        reason = _litter_of(folder) or _litter_part(last)
        return "" if reason == "hidden" and self._hidden_is_meant else reason

    def _is_text(self, entry: Entry) -> bool:
        try:
            size = min(HEAD_BYTES, entry.size_bytes)
            return is_text(self._store.read_range(entry.uri, 0, size, entry.version))
        except OSError:
            return False  # decoding will tell what is the matter

    def _is_a_table(self, uri: str) -> bool:
        """Whether it stands where this output's files are that are no recordings."""
        below = uri[len(self._output) :].strip("/").split("/") if self._output else [""]
        return _within(uri, self._output) and below[0] in WRITTEN

    def _written(self, uri: str) -> bool:
        """Whether a run wrote it: below the output, or by what is noted there and in outputs below this place."""
        if self._output and _within(self._output, self._root) and _within(uri, self._output):
            return True
        parts = uri.split("/")
        for at, part in enumerate(parts[:-1]):
            if part not in ("_work", "media"):
                continue
            output = "/".join(parts[:at])
            if part == "_work" and self._is_output(output):
                return True
            kept = part == "media" and suffix_of(uri) == KEPT_SUFFIX and self._is_output(output)
            if kept and WorkStore(output, "", "", stores=self._search.stores).wrote("/".join(parts[at:])):
                return True
        return False

    def _look_for_output(self, place: str) -> bool:
        """Whether this is our output, or another one at or below the place that is searched."""
        if place == self._output:
            return True
        if place != self._root and not _within(place, self._root):
            return False
        return self._store.stat(join(place, RECORD)) is not None


def _within(uri: str, folder: str) -> bool:
    return uri.startswith(folder.rstrip("/") + "/")


@functools.lru_cache(maxsize=1000)
def _litter_of(folder: str) -> str:
    """Why what is in the folder is litter; "" where it is not."""
    parts = folder.split("/")
    if any(suffix_of(part) == ".download" for part in parts):  # Safari's, with what it has so far inside
        return UNDER_WAY
    return next(filter(None, map(_litter_part, parts)), "")


def _litter_part(part: str) -> str:
    folded = part.casefold()
    if folded.startswith("._"):
        return APPLE
    if folded.startswith(".trash"):
        return "trash"
    return FOLDERS.get(folded) or ("hidden" if folded.startswith(".") else "")


def is_text(head: bytes) -> bool:
    """Whether a file that begins so is a text: a recording has a zero, or what is no UTF-8, before long."""
    try:
        text = head.decode("utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut off
            return False
        text = head[: error.start].decode()
    return not re.search("[\x00-\x08\x0e-\x1f]", text)


def _until_error(entries: Iterator[Entry], errors: list[OSError]) -> Iterator[Entry]:
    try:
        yield from entries
    except OSError as error:
        errors.append(error)


def _settled(entries: Iterator[Entry]) -> Iterator[tuple[Entry, bool]]:
    """Each entry, and whether a name beside it says that it is still being downloaded.

    Listings are sorted, so what has a name and more stands right behind it.
    """
    group: list[Entry] = []
    start = ""
    for entry in entries:
        if group and not (entry.uri.startswith(start) and "/" not in entry.uri[len(start) :]):
            yield from _group_settled(group)
            group = []
        if not group:
            start = _start_of_group(entry.uri)
        group.append(entry)
    yield from _group_settled(group)


def _start_of_group(uri: str) -> str:
    """What the names begin with that may say of this one that it is not whole."""
    if PIECE.search(uri):
        return f"{_whole(uri)}.f"
    return uri if suffix_of(uri) in MEDIA else f"{uri}."


def _group_settled(group: list[Entry]) -> Iterator[tuple[Entry, bool]]:
    suffixes = [(entry.uri, suffix_of(entry.uri)) for entry in group] if len(group) > 1 else []
    under_way = {uri[: -len(suffix)] for uri, suffix in suffixes if suffix in IN_PROGRESS}
    wholes = {_whole(uri) for uri in under_way if PIECE.search(uri)}
    for entry in group:
        piece = PIECE.search(entry.uri) and _whole(entry.uri) in wholes
        yield entry, bool(piece or entry.uri in under_way)


def _whole(uri: str) -> str:
    """The name, without its suffixes, of the video that this is a piece of."""
    return PIECE.sub("", uri)


class Tally:
    """Counts what was skipped, with a few of the names."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._suffixes: Counter[str] = Counter()
        self._names: dict[str, list[str]] = {}

    def add(self, skipped: Skipped) -> None:
        self._reasons[skipped.reason] += 1
        names = self._names.setdefault(skipped.reason, [])
        if len(names) < NAMES_SHOWN:
            names.append(skipped.name)
        if skipped.reason == BY_SUFFIX:
            suffix = suffix_of(skipped.name)
            known = suffix in self._suffixes or len(self._suffixes) < SUFFIXES_COUNTED
            fits = len(suffix) <= SUFFIX_LENGTH and suffix.isprintable()
            self._suffixes[suffix if known and fits else "other"] += 1

    def figures(self) -> dict[str, Any]:
        """What summary.json says of it."""
        return {"skipped": dict(self._reasons), "skipped_suffixes": dict(self._suffixes)}

    def words(self) -> str:
        """The same for people, with the first names of each reason; "" where nothing was skipped."""
        return skipped_in_words(self.figures(), self._names)


def skipped_in_words(figures: dict[str, Any], names: dict[str, list[str]] | None = None) -> str:
    """ "2 hidden (.a.mp3, .b.mp3), 4 not_by_suffix (3 .txt, 1 without)"."""
    ordered = sorted(figures.get("skipped_suffixes", {}).items(), key=lambda item: (-item[1], item[0]))
    by_suffix = [f"{number} {suffix or 'without'}" for suffix, number in ordered]
    parts = []
    for reason, number in sorted(figures.get("skipped", {}).items()):
        examples = by_suffix if reason == BY_SUFFIX else (names or {}).get(reason, [])
        more = ["…"] if names and reason != BY_SUFFIX and number > len(examples) else []
        parts.append(f"{number} {reason}" + (f" ({', '.join([*examples, *more])})" if examples else ""))
    return ", ".join(parts)
