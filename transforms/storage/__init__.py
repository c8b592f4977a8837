"""Where media are read and outputs are written: two small protocols, one file per kind of store.

A place is named by a URI: a path, `file://`, `s3://bucket/key`, `s3://profile@bucket/key`, `gs://bucket/key`. Keys
stand in it as they are, without percent-encoding. `Stores.serving` finds the store of a URI.
"""

from transforms.storage.protocol import (
    ChangedError,
    Entry,
    MediaSource,
    Source,
    StorageError,
    Store,
    changed,
    join,
    without_secrets,
)
from transforms.storage.stores import Stores

__all__ = [
    "ChangedError",
    "Entry",
    "MediaSource",
    "Source",
    "StorageError",
    "Store",
    "Stores",
    "changed",
    "join",
    "without_secrets",
]
