"""The translators that `--translator` chooses from: a new one is one file beside this and one line here."""

from __future__ import annotations

from transforms.registry import Entry, Registry

TRANSLATORS = Registry(
    "translator", {"openai": Entry("transforms.translators.openai:OpenAISettings", "any OpenAI-compatible server")}
)
