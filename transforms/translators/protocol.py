"""What a translator is: it takes the cues of one transcript, and gives each its translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self


class Translator(Protocol):
    """Translates the texts of one transcript at a time; several threads may call."""

    def translate(self, texts: Sequence[str], source: str) -> tuple[list[str | None], str]:
        """The translation of each text, None where there is none, and the last error ("" where there was none).

        Args:
            source: the language of the texts, as a code.
        """
        ...

    def stop(self) -> None:
        """Begin no more work: the texts that are left stay untranslated."""
        ...


class TranslatorSettings(Protocol):
    """Who translates, and how: settings alone, pickled into the workers. Keys come from the environment."""

    target: str  # code of the language to translate to

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """The settings that the options describe.

        Raises:
            ValueError: they cannot be meant, or something that they need is not there; the message tells what to do.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """What changes when the translations do, beside the target: the translation layer's fingerprint covers it."""
        ...

    def open(self) -> Translator:
        """The translator, where it is used."""
        ...
