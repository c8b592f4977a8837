"""The Parquet dataset of an output, read from whatever store it is on without fetching more than is asked for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.parquet as pq

from beam_pipeline.errors import NoRunError
from transforms.storage import Entry, Store, join

BATCH_ROWS = 500
SHARD = re.compile(r"[0-9]{5}-of-[0-9]{5}\.parquet")


def rows(store: Store, output: str, table: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a table of the output, shard by shard. Held are these columns of one row group.

    Raises:
        NoRunError: there is no such table.
        OSError: it cannot be read, or a run replaces it meanwhile.
    """
    root = store.canonical(join(output, table)) + "/"
    shards = [entry for entry in store.list(root) if SHARD.fullmatch(entry.uri.removeprefix(root))]
    if not shards:
        raise NoRunError(f"there is no dataset in {output}: no run on it has come to its end")
    for entry in shards:
        with pq.ParquetFile(ObjectFile(store, entry)) as shard:
            for batch in shard.iter_batches(BATCH_ROWS, columns=list(columns)):
                yield from batch.to_pylist()


class ObjectFile(io.RawIOBase):
    """An object of a store as a file to read, each read being one request for these bytes of this version."""

    def __init__(self, store: Store, entry: Entry) -> None:
        self._store, self._entry, self._at = store, entry, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._entry.size_bytes}[whence]
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._entry.size_bytes - self._at))
        if size:
            buffer[:size] = self._store.read_range(self._entry.uri, self._at, size, self._entry.version)
        self._at += size
        return size
