"""The whisper engine: any Whisper checkpoint on transformers and torch; those are loaded with the model alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Self

from transforms.engines.catalog import ModelFacts, describe, known_languages
from transforms.engines.verdict import Thresholds
from transforms.engines.whisper_settings import WhisperSettings

if TYPE_CHECKING:
    from transforms.engines.devices import Placement
    from transforms.engines.whisper_model import WhisperModel

OPTIONS = ("device", "dtype", "batch_size")  # called as the settings call them


@dataclasses.dataclass(frozen=True)
class WhisperEngine:
    """The `Engine` of Whisper checkpoints."""

    settings: WhisperSettings

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        model = describe(options["model"], options["model_revision"])
        chosen = {name: options[name] for name in OPTIONS}
        thresholds = Thresholds.from_options(options)
        return cls(WhisperSettings(model, options["model_revision"], thresholds=thresholds, **chosen))

    @property
    def model(self) -> ModelFacts:
        return self.settings.model

    def languages(self) -> frozenset[str]:
        return known_languages(self.model)

    def in_languages(self, language: str, languages: tuple[str, ...]) -> Self:
        return dataclasses.replace(
            self, settings=dataclasses.replace(self.settings, language=language, languages=languages)
        )

    def key(self) -> Hashable:
        return self.settings

    def batch_size(self) -> int:
        return self.placement().batch_size

    def place(self) -> str:
        return str(self.placement(claim=False))

    def placement(self, claim: bool = True) -> Placement:
        """Where the model runs on this machine; `claim` takes a GPU for this process. Imports torch."""
        from transforms.engines.devices import place

        chosen = self.settings
        return place(chosen.model, chosen.revision, chosen.device, chosen.dtype, chosen.batch_size, claim)

    def load(self) -> WhisperModel:
        from transforms.engines.whisper_model import WhisperModel

        return WhisperModel(self.settings, self.placement())
