"""Names of what can be chosen, and where each is made: nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One choice."""

    place: str  # "module:name" of what makes it
    about: str = ""  # a few words, for the help of the flag that chooses

    def load(self) -> Any:
        """What stands at the place.

        Raises:
            ImportError: its module, or a package that it needs, is not installed.
        """
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name)


class Registry(Mapping[str, Entry]):
    """The choices of one kind, by name, in the order in which they were registered."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self.kind, self._entries = kind, dict(entries)

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise KeyError(f"{name!r} is no {self.kind}: choose from {', '.join(self._entries)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def register(self, name: str, place: str, about: str = "") -> None:
        """Add a choice, or replace the one of that name."""
        self._entries[name] = Entry(place, about)
