"""Files on this machine or on a mount that every worker sees."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import pathlib
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from transforms.storage import keys
from transforms.storage.profiles import S3Profile
from transforms.storage.protocol import Entry, MediaSource, changed

TEMPORARY = ".tmp-"
TEMPORARY_NAME = re.compile(f"{re.escape(TEMPORARY)}[0-9a-f]{{32}}")
NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}  # or one that no file can have
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}  # a file system that has no hard links


class LocalStore:
    """The `Store` of plain paths and `file://` URIs."""

    @classmethod
    def serving(cls, uri: str, profiles: Sequence[S3Profile]) -> Self:
        return cls()

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
        return None if stat.S_ISDIR(found.st_mode) else Entry(str(path), found.st_size, _version(found))

    def list(self, folder: str) -> Iterator[Entry]:
        errors: list[OSError] = []
        yield from _walk(self.canonical(folder), errors)
        for failure in errors:
            if failure.errno not in NO_SUCH_FILE:
                raise failure

    def glob(self, pattern: str) -> Iterator[Entry]:
        place = self.canonical(pattern)
        # Python's glob would go through links to folders, round and round
        if "**" in place.split("/"):
            yield from (entry for entry in self.list(_root(place)) if _matches(entry.uri, place))
            return
        for name in sorted(glob.glob(place)):  # noqa: PTH207
            entry = self.stat(name)
            if entry is not None:
                yield entry

    def links(self, place: str, pattern: bool = False) -> Iterator[str]:
        path = self.canonical(place)
        if not pattern:
            names = _links(path)
        elif "**" in path.split("/"):
            names = (name for name in _links(_root(path)) if _matches(name, path))
        else:
            names = glob.iglob(path)  # noqa: PTH207
        for name in names:
            if not os.path.isfile(name) and os.path.islink(name):  # noqa: PTH113, PTH114 - any name
                yield name

    def link(self, uri: str) -> str:
        try:
            return os.readlink(self._path(uri))  # noqa: PTH115 - pathlib's would be a path
        except (OSError, ValueError):
            return ""

    def is_folder(self, uri: str) -> bool:
        return os.path.isdir(self._path(uri))  # noqa: PTH112 - pathlib's raises on names that cannot be

    def read(self, uri: str) -> bytes:
        return self._path(uri).read_bytes()

    def read_range(self, uri: str, start: int, size: int, version: str) -> bytes:
        with self._path(uri).open("rb") as file:
            found = os.fstat(file.fileno())
            file.seek(start)
            data = file.read(size)
        if _version(found) != version or len(data) != size:
            raise changed(uri)
        return data

    def put(self, uri: str, data: bytes) -> None:
        with self._beside(uri) as (temporary, target):
            temporary.write_bytes(data)
            temporary.replace(target)

    def put_new(self, uri: str, data: bytes) -> bool:
        with self._beside(uri) as (temporary, target):
            temporary.write_bytes(data)
            try:
                _link(temporary, target)
            except FileExistsError:
                return False
        return True

    def put_file(self, uri: str, path: pathlib.Path) -> None:
        with self._beside(uri) as (temporary, target):
            shutil.copyfile(path, temporary)
            temporary.replace(target)

    def delete(self, uri: str) -> None:
        self._path(uri).unlink(missing_ok=True)

    def sweep(self, folder: str, is_ours: Callable[[str], bool] = lambda _: True) -> None:
        for root, _, files in os.walk(self._path(folder)):
            for name in files:
                if TEMPORARY_NAME.fullmatch(name):
                    pathlib.Path(root, name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def open_media(self, entry: Entry) -> Iterator[MediaSource]:
        path = self._path(entry.uri)
        if path.exists() and not path.is_file():  # opening a named pipe would wait for ever
            raise OSError("not a regular file")
        with path.open("rb"):
            pass
        # `file:` keeps a name with a colon or a leading dash from being taken for something else.
        yield MediaSource(f"file:{path}", "file", check=lambda: self._check(entry))

    def _check(self, entry: Entry) -> None:
        found = self.stat(entry.uri)
        if found is None or found.version != entry.version:
            raise changed(entry.uri)

    def _path(self, uri: str) -> pathlib.Path:
        return pathlib.Path(self.canonical(uri))

    @contextlib.contextmanager
    def _beside(self, uri: str) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
        """The place of a temporary file in the target's folder, gone when the block ends, and the target."""
        target = self._path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            yield temporary, target
        finally:
            temporary.unlink(missing_ok=True)


def _walk(folder: str, errors: list[OSError]) -> Iterator[Entry]:
    """The files below a folder in the order of their whole names; what cannot be read goes into errors."""
    try:
        with os.scandir(folder) as found:
            # A folder sorts as what its files' names go on with. Links to folders are not followed: no loops.
            entries = sorted((each.path + "/" * each.is_dir(follow_symlinks=False), each) for each in found)
    except OSError as error:
        errors.append(error)
        return
    for path, entry in entries:
        if TEMPORARY_NAME.fullmatch(entry.name):
            continue  # half-written, or about to get its name
        try:
            if path.endswith("/"):
                yield from _walk(entry.path, errors)
            elif not stat.S_ISDIR((details := entry.stat()).st_mode):
                yield Entry(path, details.st_size, _version(details))
        except OSError as error:
            errors.append(error)


def _root(pattern: str) -> str:
    """The folder that everything is in that the pattern matches."""
    return keys.literal_start(pattern)[0].rpartition("/")[0] or "/"


def _matches(path: str, pattern: str) -> bool:
    return keys.matches(path.split("/"), pattern.split("/"))


def _links(folder: str) -> Iterator[str]:
    """Every link below the folder; what cannot be read is told of by a listing."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in sorted(found, key=lambda each: each.name):
            if entry.is_symlink():
                yield entry.path
            elif entry.is_dir(follow_symlinks=False):
                yield from _links(entry.path)


def _version(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}"


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """Give the file a second name; unlike a rename, it fails where there is one of that name."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # a mount without links: a reader may see it before it is whole
        with target.open("xb") as file:
            file.write(source.read_bytes())
