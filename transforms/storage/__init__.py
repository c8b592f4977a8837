"""Where media are read and outputs are written: one small protocol, one file per kind of store.

A place is named by a URI: a path, `file://`, `s3://bucket/key`, `s3://profile@bucket/key`, `gs://bucket/key`. Keys
stand in it as they are, without percent-encoding. `Stores.serving` finds the store of a URI.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from transforms.storage.profiles import S3Profile

PROFILE = re.compile(r"[A-Za-z0-9_.-]+")


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
    """What ffmpeg opens to read a media, and why it could not read all of it, if so."""

    url: str
    protocols: str  # that ffmpeg may use for it: "file", or "http,tcp"
    error: OSError | None = None
    check: Callable[[], None] = lambda: None  # raises OSError where it is another version by now


class Store(Protocol):
    """What every store can do. Each `put` makes the whole object appear at once, or nothing.

    Faults of the network or the server are tried again inside. What stays is an OSError: FileNotFoundError,
    PermissionError, or a StorageError that says what to do. No message holds a secret.
    """

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

    def open_media(self, entry: Entry) -> contextlib.AbstractContextManager[MediaSource]:
        """What ffmpeg can read the object from, seekably, inside the context."""
        ...


@dataclasses.dataclass(frozen=True)
class Stores:
    """Finds the store of a URI, with the settings that the job has for it. Pickled into workers; holds no secret."""

    s3: tuple[S3Profile, ...] = ()

    def serving(self, uri: str) -> Store:
        """The store that serves the URI.

        Raises:
            StorageError: no store serves its scheme, or it names no bucket.
        """
        scheme, separator, rest = uri.partition("://")
        if not separator or scheme == "file":
            from transforms.storage.local import LocalStore

            return LocalStore()
        if scheme == "s3":
            from transforms.storage.s3 import S3Store

            return S3Store(self._profile(rest))
        if scheme == "gs":
            from transforms.storage.gcs import GcsStore

            return GcsStore()
        raise StorageError(f"{scheme}:// is not supported yet: copy the files to a local folder and name that")

    def _profile(self, rest: str) -> S3Profile:
        place = rest.split("/", 1)[0]
        name, at, _ = place.rpartition("@")
        if ":" in place or (at and not PROFILE.fullmatch(name)):  # keys may hold slashes
            raise StorageError("s3://…@bucket: what stands before the @ must be the name of a profile, never a key")
        return next((profile for profile in self.s3 if profile.name == name), S3Profile(name))


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
