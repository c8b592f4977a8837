"""The whisper engine: any Whisper checkpoint on transformers and torch; those are loaded with the model alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transforms.engines.checkpoint import CheckpointEngine
from transforms.engines.whisper_settings import WhisperSettings

if TYPE_CHECKING:
    from transforms.engines.placement import Placement
    from transforms.engines.whisper_model import WhisperModel


class WhisperEngine(CheckpointEngine[WhisperSettings]):
    """The `Engine` of Whisper checkpoints on torch."""

    kind = WhisperSettings

    def placement(self, claim: bool = True) -> Placement:
        from transforms.engines.devices import place

        chosen = self.settings
        return place(chosen.model, chosen.revision, chosen.device, chosen.dtype, chosen.batch_size, claim)

    def load(self) -> WhisperModel:
        from transforms.engines.whisper_model import WhisperModel

        return WhisperModel(self.settings, self.placement())
