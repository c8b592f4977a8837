"""What an engine is: a speech model that takes windows of many media at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, Self

from transforms.engines.catalog import ModelFacts
from transforms.records import SpeechWindow, WindowTranscription


class LoadedModel(Protocol):
    """A model on its device. Beam holds it by a weak reference, so it must be an object of a class."""

    def transcribe(self, windows: Sequence[SpeechWindow]) -> list[WindowTranscription]:
        """What was said in each window, in order, each with the language and tasks that it asks for."""
        ...

    def release_memory(self) -> None:
        """Free what can be freed after the device ran out of memory."""
        ...


class Engine(Protocol):
    """Which model runs, and how: settings alone, pickled into the workers, with nothing loaded.

    A failing batch is halved, one result a window is seen to, and a model is loaded once a process by SpeechHandler:
    an engine does none of that.
    """

    model: ModelFacts

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """The engine that the options describe. No network is used and nothing heavy imported.

        Raises:
            ValueError: they cannot be meant; the message tells what to do.
        """
        ...

    def languages(self) -> frozenset[str]:
        """The codes of the languages that the model can be told, as far as can be known before it is loaded."""
        ...

    def in_languages(self, language: str, languages: tuple[str, ...]) -> Self:
        """The same, told the language of all media ("" finds it), or which there are to choose from (() is all)."""
        ...

    def key(self) -> Hashable:
        """Equal for engines whose loaded model is the same."""
        ...

    def batch_size(self) -> int:
        """How many windows fit the device at once. Called where the model runs."""
        ...

    def place(self) -> str:
        """Where the model would run on this machine, for people."""
        ...

    def load(self) -> LoadedModel:
        """Load the model onto its device.

        Raises:
            ModelError: it cannot be had.
        """
        ...
