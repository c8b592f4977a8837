"""What the engines that run Whisper checkpoints have in common, whichever library they run on."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

from transforms.engines.catalog import ModelFacts, describe, known_languages
from transforms.engines.placement import Placement
from transforms.engines.protocol import LoadedModel
from transforms.engines.verdict import USUAL, Thresholds

SETTLED_APART = {"model", "revision", "language", "languages", "thresholds"}  # of the settings; all else are options


@dataclasses.dataclass(frozen=True)
class CheckpointSettings:
    """Which checkpoint runs, and what can be told of it on any library."""

    model: ModelFacts
    revision: str = ""
    language: str = ""  # forced on every window; "" finds it
    languages: tuple[str, ...] = ()  # the choice that detection has; () is all
    device: str = "auto"  # "cuda", "cuda:1", "cpu"
    batch_size: int = 0  # windows; 0 chooses by the device
    thresholds: Thresholds = USUAL

    def __post_init__(self) -> None:
        if self.batch_size < 0:
            raise ValueError(f"batch_size is {self.batch_size}: give a number of windows, or 0 to have it chosen")


Settings = TypeVar("Settings", bound=CheckpointSettings)


@dataclasses.dataclass(frozen=True)
class CheckpointEngine(abc.ABC, Generic[Settings]):
    """An `Engine` but for where its model runs, and what loads it."""

    settings: Settings
    kind: ClassVar[type[CheckpointSettings]]  # of its settings, whose fields are called as their options are

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        model = describe(options["model"], options["model_revision"])
        own = {field.name for field in dataclasses.fields(cls.kind)} - SETTLED_APART
        chosen: dict[str, Any] = {name: options[name] for name in own}
        thresholds = Thresholds.from_options(options)
        settings: Any = cls.kind(model, options["model_revision"], thresholds=thresholds, **chosen)
        return cls(settings)

    @property
    def model(self) -> ModelFacts:
        return self.settings.model

    def languages(self) -> frozenset[str]:
        return known_languages(self.model)

    def in_languages(self, language: str, languages: tuple[str, ...]) -> Self:
        settings = dataclasses.replace(self.settings, language=language, languages=languages)
        return dataclasses.replace(self, settings=settings)

    def key(self) -> Hashable:
        return self.settings

    def batch_size(self) -> int:
        return self.placement().batch_size

    def place(self) -> str:
        return str(self.placement(claim=False))

    @abc.abstractmethod
    def placement(self, claim: bool = True) -> Placement:
        """Where the model runs on this machine; `claim` takes a GPU for this process. Imports the library.

        Raises:
            ValueError: the device is not there, or cannot do what it is told.
        """

    @abc.abstractmethod
    def load(self) -> LoadedModel:
        """As `Engine.load`."""
