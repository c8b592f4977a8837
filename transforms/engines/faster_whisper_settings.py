"""What the faster-whisper engine can be told."""

from __future__ import annotations

import dataclasses

from transforms.engines.checkpoint import CheckpointSettings


@dataclasses.dataclass(frozen=True)
class FasterWhisperSettings(CheckpointSettings):
    """Which checkpoint runs, and how."""

    compute_type: str = "default"  # CTranslate2's: "default" is the weights' own, or the nearest that the device has
    cpu_threads: int = 0  # of one batch; 0 is what the machine allows
    num_workers: int = 1  # batches at once

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cpu_threads < 0:
            raise ValueError(f"cpu_threads is {self.cpu_threads}: give a number of threads, or 0 to have it chosen")
        if self.num_workers < 1:
            raise ValueError(f"num_workers is {self.num_workers}: give a number of batches at once, at least 1")
