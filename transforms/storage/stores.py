"""Finding the store of a URI."""

from __future__ import annotations

import dataclasses

from transforms.storage.profiles import S3Profile
from transforms.storage.protocol import StorageError, Store
from transforms.storage.registry import STORES


@dataclasses.dataclass(frozen=True)
class Stores:
    """Finds the store of a URI, with the settings that the job has for it. Pickled into workers; holds no secret."""

    s3: tuple[S3Profile, ...] = ()

    def serving(self, uri: str) -> Store:
        """The store that serves the URI. One that can only be read from has none of the methods that write.

        Raises:
            StorageError: no store serves its scheme, or it names no bucket.
        """
        before, separator, _ = uri.partition("://")
        scheme = before if separator else "file"
        if scheme not in STORES:
            raise StorageError(f"{scheme}:// is not supported yet: copy the files to a local folder and name that")
        store: Store = STORES[scheme].load().serving(uri, self.s3)
        return store
