"""Where media are read and outputs are written: one small protocol, one file per kind of store.

A place is named by a URI; a plain path is a local one. `store_for` finds the store that serves it.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol


class StorageError(OSError):
    """A store cannot do what was asked; the message tells the user what to do."""


class Entry(NamedTuple):
    """One object of a listing."""

    uri: str
    size_bytes: int
    version: str


class Store(Protocol):
    """What every store can do. Each `put` makes the whole object appear at once, or nothing."""

    def canonical(self, uri: str) -> str:
        """The one spelling of a URI: absolute, without credentials or signatures."""
        ...

    def stat(self, uri: str) -> Entry | None:
        """The object, or None where there is none."""
        ...

    def list(self, folder: str) -> Iterator[Entry]:
        """Every object below the folder, sorted by name.

        Raises:
            OSError: a part of it cannot be read; raised when everything else has been listed.
        """
        ...

    def glob(self, pattern: str) -> Iterator[Entry]:
        """Every object that the pattern matches, sorted by name; `**` crosses folders."""
        ...

    def is_folder(self, uri: str) -> bool: ...

    def read(self, uri: str) -> bytes:
        """Raises FileNotFoundError where there is no such object."""
        ...

    def put(self, uri: str, data: bytes) -> None: ...

    def put_file(self, uri: str, path: pathlib.Path) -> None:
        """Like `put`, with the content of a local file, which is left in place."""
        ...

    def delete(self, uri: str) -> None:
        """Delete the object; a missing one is no error."""
        ...

    def local_copy(self, uri: str) -> contextlib.AbstractContextManager[pathlib.Path]:
        """A local file with the object's content, valid inside the context."""
        ...


def store_for(uri: str) -> Store:
    """The store that serves the URI.

    Raises:
        StorageError: no store serves its scheme.
    """
    from transforms.storage.local import LocalStore

    scheme, separator, _ = uri.partition("://")
    if not separator or scheme == "file":
        return LocalStore()
    raise StorageError(f"{scheme}:// is not supported yet: copy the files to a local folder and name that")


def join(place: str, *parts: str) -> str:
    """The URI of something below a place."""
    return "/".join([place.rstrip("/"), *parts])
