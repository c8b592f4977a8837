"""Files on this machine or on a mount that every worker sees."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator

from transforms.storage import Entry

NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}  # or one that no file can have


class LocalStore:
    """The `Store` of plain paths and `file://` URIs."""

    def canonical(self, uri: str) -> str:
        return os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))  # noqa: PTH100, PTH111 - lexical

    def stat(self, uri: str) -> Entry | None:
        path = self._path(uri)
        try:
            found = path.stat()
        except ValueError:  # a name with a NUL
            return None
        except OSError as error:
            if error.errno in NO_SUCH_FILE:
                return None
            raise
        return Entry(str(path), found.st_size, f"{found.st_size}-{found.st_mtime_ns}")

    def list(self, folder: str) -> Iterator[Entry]:
        errors: list[OSError] = []
        walk = os.walk(self._path(folder), onerror=errors.append)  # does not follow links to folders: no loops
        for name in sorted(str(pathlib.Path(root, name)) for root, _, files in walk for name in files):
            try:
                entry = self.stat(name)
            except OSError as error:
                errors.append(error)
                continue
            if entry is not None:
                yield entry
        for failure in errors:
            if failure.errno not in NO_SUCH_FILE:
                raise failure

    def glob(self, pattern: str) -> Iterator[Entry]:
        for name in sorted(glob.glob(self.canonical(pattern), recursive=True)):  # noqa: PTH207 - no ** in old ones
            entry = self.stat(name)
            if entry is not None and not self.is_folder(name):
                yield entry

    def is_folder(self, uri: str) -> bool:
        return os.path.isdir(self._path(uri))  # noqa: PTH112 - pathlib's raises on names that cannot be

    def read(self, uri: str) -> bytes:
        return self._path(uri).read_bytes()

    def put(self, uri: str, data: bytes) -> None:
        with self._replacing(uri) as temporary:
            temporary.write_bytes(data)

    def put_file(self, uri: str, path: pathlib.Path) -> None:
        with self._replacing(uri) as temporary:
            shutil.copyfile(path, temporary)

    def delete(self, uri: str) -> None:
        self._path(uri).unlink(missing_ok=True)

    @contextlib.contextmanager
    def local_copy(self, uri: str) -> Iterator[pathlib.Path]:
        yield self._path(uri)

    def _path(self, uri: str) -> pathlib.Path:
        return pathlib.Path(self.canonical(uri))

    @contextlib.contextmanager
    def _replacing(self, uri: str) -> Iterator[pathlib.Path]:
        """A temporary file beside the target, renamed onto it when the block ends without an error."""
        target = self._path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".tmp-{uuid.uuid4().hex}"
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
