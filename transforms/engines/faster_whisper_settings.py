"""What the faster-whisper engine can be told."""

from __future__ import annotations

import dataclasses

from transforms.engines.catalog import ModelFacts
from transforms.engines.verdict import USUAL, Thresholds


@dataclasses.dataclass(frozen=True)
class FasterWhisperSettings:
    """Which checkpoint runs, and how."""

    model: ModelFacts
    revision: str = ""
    language: str = ""  # forced on every window; "" finds it
    languages: tuple[str, ...] = ()  # the choice that detection has; () is all
    device: str = "auto"  # "cuda", "cuda:1", "cpu"
    compute_type: str = "default"  # CTranslate2's: "default" is the weights' own, or the nearest that the device has
    cpu_threads: int = 0  # of one batch; 0 is what the machine allows
    num_workers: int = 1  # batches at once
    batch_size: int = 0  # windows; 0 chooses by the device
    thresholds: Thresholds = USUAL

    def __post_init__(self) -> None:
        if self.batch_size < 0:
            raise ValueError(f"batch_size is {self.batch_size}: give a number of windows, or 0 to have it chosen")
        if self.cpu_threads < 0:
            raise ValueError(f"cpu_threads is {self.cpu_threads}: give a number of threads, or 0 to have it chosen")
        if self.num_workers < 1:
            raise ValueError(f"num_workers is {self.num_workers}: give a number of batches at once, at least 1")
