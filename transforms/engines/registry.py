"""The engines that `--engine` chooses from: a new one is one file beside this and one line here."""

from __future__ import annotations

from transforms.registry import Entry, Registry

ENGINES = Registry(
    "engine",
    {
        "whisper": Entry("transforms.engines.whisper:WhisperEngine"),
        "faster-whisper": Entry("transforms.engines.faster_whisper:FasterWhisperEngine"),
    },
)
