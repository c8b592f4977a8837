"""What the whisper engine can be told."""

from __future__ import annotations

import dataclasses

from transforms.engines.checkpoint import CheckpointSettings


@dataclasses.dataclass(frozen=True)
class WhisperSettings(CheckpointSettings):
    """Which checkpoint runs, and how; its device may be "mps" too."""

    dtype: str = "auto"  # "float32", "bfloat16", "float16"
