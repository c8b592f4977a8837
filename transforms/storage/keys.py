"""What object stores share of keys: which can be, what lies below one, and which a pattern matches."""

from __future__ import annotations

import errno
import fnmatch
import mimetypes
import re
from collections.abc import Sequence

from transforms.storage.protocol import StorageError

LONGEST = 1024  # bytes of UTF-8, in every store


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a key matches a pattern, both split at their slashes, by the rules of Python's glob.

    `*` stays inside a part, `**` stands for any number of parts, and neither matches a name that begins with a dot.
    """
    if not pattern:
        return not parts
    first, rest = pattern[0], pattern[1:]
    if first == "**" and matches(parts, rest):
        return True
    if not parts or (parts[0].startswith(".") and not first.startswith(".")):
        return False
    if first == "**":
        return matches(parts[1:], pattern)
    return fnmatch.fnmatchcase(parts[0], first) and matches(parts[1:], rest)


def check(key: str, uri: str) -> None:
    """Raise StorageError, with the errno of a name that cannot be, where no object can have the key."""
    try:
        if len(key.encode()) > LONGEST:
            raise StorageError(errno.ENAMETOOLONG, f"an object's key has at most {LONGEST} bytes", uri)
    except UnicodeEncodeError:
        raise StorageError(errno.EINVAL, "an object's key must be UTF-8", ascii(uri)) from None


def below(key: str) -> str:
    """What the keys in a folder begin with."""
    return f"{key}/" if key else ""


def literal_start(pattern: str) -> tuple[str, bool]:
    """What every key that matches begins with, and whether no folder below that need be looked into."""
    start = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return start, "/" not in pattern[len(start) :] and pattern.rpartition("/")[2] != "**"


def content_type(key: str) -> str:
    """What a browser is told that shows the object."""
    return mimetypes.guess_type(key)[0] or "application/octet-stream"
