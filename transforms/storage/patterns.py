"""Which keys a pattern matches, in stores that know no patterns: Python's glob, on names instead of folders."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence


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
