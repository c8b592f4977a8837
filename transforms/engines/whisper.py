"""The whisper engine: which checkpoint runs and how. The model itself is in whisper_model.py, which needs torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import TYPE_CHECKING

from transforms.engines.catalog import ModelFacts
from transforms.engines.handler import SpeechHandler, SpeechModel

if TYPE_CHECKING:
    from transforms.engines.devices import Placement

NO_SPEECH = 0.6  # openai/whisper's threshold


@dataclasses.dataclass(frozen=True)
class WhisperConfig:
    """Which checkpoint runs, and how."""

    model: ModelFacts
    revision: str = ""
    language: str = ""  # forced on every window; "" finds it
    languages: tuple[str, ...] = ()  # the choice that detection has; () is all
    device: str = "auto"  # "cuda", "cuda:1", "mps", "cpu"
    dtype: str = "auto"  # "float32", "bfloat16", "float16"
    batch_size: int = 0  # windows; 0 chooses by the device's memory
    no_speech_threshold: float = NO_SPEECH

    def __post_init__(self) -> None:
        if self.batch_size < 0:
            raise ValueError(f"batch_size is {self.batch_size}: give a number of windows, or 0 to have it chosen")
        if not 0 <= self.no_speech_threshold <= 1:
            raise ValueError(f"no_speech_threshold is {self.no_speech_threshold}: it is a probability")


class WhisperHandler(SpeechHandler):
    """The ModelHandler of Whisper checkpoints."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config

    def key(self) -> Hashable:
        return self.config

    def batch_size(self) -> int:
        return self.placement().batch_size

    def placement(self, claim: bool = True) -> Placement:
        """Where the model runs on this machine; `claim` takes a GPU for this process. Imports torch."""
        from transforms.engines.devices import place

        config = self.config
        return place(config.model, config.revision, config.device, config.dtype, config.batch_size, claim)

    def load(self) -> SpeechModel:
        from transforms.engines.whisper_model import WhisperModel

        return WhisperModel(self.config, self.placement())
