"""What a source of media can do, and what a store can do that outputs are written to as well."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, Self

from transforms.storage.profiles import S3Profile


class StorageError(OSError):
    """A store cannot do what was asked; the message tells the user what to do."""


class ChangedError(StorageError):
    """The object is no longer the version that was listed."""


class Entry(NamedTuple):
    """One object of a listing."""

    uri: str
    size_bytes: int
    version: str  # changes when the content does


@dataclasses.dataclass
class MediaSource:
    """What ffmpeg opens to read a recording, and why it could not read all of it, if so."""

    url: str
    protocols: str  # that ffmpeg may use for it: "file", or "http,tcp"
    error: OSError | None = None
    check: Callable[[], None] = lambda: None  # raises OSError where it is another version by now


class Source(Protocol):
    """A place that media are read from.

    Faults of the network or the server are tried again inside. What stays is an OSError: FileNotFoundError,
    PermissionError, or a StorageError that says what to do. No message holds a secret.
    """

    @classmethod
    def serving(cls, uri: str, profiles: Sequence[S3Profile]) -> Self:
        """The one that serves the URI, with the settings that the config file has for stores.

        Raises:
            StorageError: it cannot be one.
        """
        ...

    def canonical(self, uri: str) -> str:
        """The one spelling of a URI: absolute, without credentials or signatures."""
        ...

    def stat(self, uri: str) -> Entry | None:
        """The object, or None where there is none."""
        ...

    def list(self, folder: str) -> Iterator[Entry]:
        """Every object below the folder, sorted by name; nothing where there is no such folder.

        Raises:
            OSError: a part of it cannot be read; raised when everything else has been listed.
        """
        ...

    def glob(self, pattern: str) -> Iterator[Entry]:
        """Every object that the pattern matches, sorted by name; `**` crosses folders."""
        ...

    def links(self, place: str, pattern: bool = False) -> Iterator[str]:
        """The links below the folder, or that the pattern matches, that lead to no file: to nothing or to a folder.

        `list` and `glob` pass over them.
        """
        ...

    def link(self, uri: str) -> str:
        """Where a link leads; "" for everything else, as object stores have no links."""
        ...

    def is_folder(self, uri: str) -> bool: ...

    def read(self, uri: str) -> bytes:
        """Raises FileNotFoundError where there is no such object."""
        ...

    def read_range(self, uri: str, start: int, size: int, version: str) -> bytes:
        """Exactly so many bytes of exactly this version.

        Raises:
            ChangedError: the object is another version by now.
            StorageError: they cannot be had for another reason.
        """
        ...

    def open_media(self, entry: Entry) -> contextlib.AbstractContextManager[MediaSource]:
        """What ffmpeg can read the object from, seekably, inside the context."""
        ...


class Store(Source, Protocol):
    """A source that outputs can be written to. Each `put` makes the whole object appear at once, or nothing."""

    def put(self, uri: str, data: bytes) -> None: ...

    def put_new(self, uri: str, data: bytes) -> bool:
        """Put the object if there is none of this name; False where there is one. Of many writers one gets True."""
        ...

    def put_file(self, uri: str, path: pathlib.Path) -> None:
        """Like `put`, with the content of a local file, which is left in place."""
        ...

    def delete(self, uri: str) -> None:
        """Delete the object; a missing one is no error."""
        ...

    def sweep(self, folder: str, is_ours: Callable[[str], bool] = lambda _: True) -> None:
        """Remove what writers that were killed left half-written below the folder. None of ours may be writing there.

        Where it cannot be told by its name who was writing, `is_ours` is asked by the URI that it was to have.
        """
        ...


def changed(uri: str) -> ChangedError:
    """The error for an object that is another version by now."""
    return ChangedError(f"{uri} changed since it was listed: run again when it is complete")


def join(place: str, *parts: str) -> str:
    """The URI of something below a place."""
    return "/".join([place.rstrip("/"), *parts])


def without_secrets(uri: str) -> str:
    """The URI without what may be a password or a signature, of a scheme that no store serves."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    if ":" in rest.partition("@")[0]:  # a password may hold slashes
        rest = rest.rpartition("@")[2]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]
