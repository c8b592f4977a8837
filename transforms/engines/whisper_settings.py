"""What the whisper engine can be told."""

from __future__ import annotations

import dataclasses

from transforms.engines.catalog import ModelFacts
from transforms.engines.verdict import USUAL, Thresholds


@dataclasses.dataclass(frozen=True)
class WhisperSettings:
    """Which checkpoint runs, and how."""

    model: ModelFacts
    revision: str = ""
    language: str = ""  # forced on every window; "" finds it
    languages: tuple[str, ...] = ()  # the choice that detection has; () is all
    device: str = "auto"  # "cuda", "cuda:1", "mps", "cpu"
    dtype: str = "auto"  # "float32", "bfloat16", "float16"
    batch_size: int = 0  # windows; 0 chooses by the device's memory
    thresholds: Thresholds = USUAL

    def __post_init__(self) -> None:
        if self.batch_size < 0:
            raise ValueError(f"batch_size is {self.batch_size}: give a number of windows, or 0 to have it chosen")
