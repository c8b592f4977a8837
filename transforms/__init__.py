"""The steps of the product, in the order of the flow, and the records that pass between them.

    CollectMedia       the inputs → MediaFile, one for each recording, or DeadLetter
    PlanWork           MediaFile → MediaChunk: what is left to do of each
    DecodeAudio        MediaChunk → SpeechWindow: stretches of speech that a model takes
    TranscribeSpeech   SpeechWindow → Transcript, as soon as the last window of a recording is back
    TranslateText      Transcript → Transcript with a translation
    SaveMedia          Transcript → its files, and MediaOutcome
    WriteDataset       MediaOutcome of all → Parquet, summary and report

They make graphs of other shapes, too. This one prints where somebody speaks, and needs no model:

    import apache_beam as beam
    from transforms import CollectMedia, DecodeAudio, DecodeConfig, Inputs, PlanConfig, PlanWork, WorkStore

    work = WorkStore("out", asr="any", saved="any")
    with beam.Pipeline("FnApiRunner") as pipeline:
        (
            pipeline
            | CollectMedia(Inputs(("examples/media/market.mp4",)))
            | PlanWork(work, PlanConfig())
            | DecodeAudio(work, DecodeConfig())
            | beam.Map(lambda window: print(window.chunk.media.id, window.start_s, window.duration_s))
        )

Importing this imports nothing else: each name is looked up when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transforms.collect_media import CollectMedia
    from transforms.decode_audio import DecodeAudio, DecodeConfig
    from transforms.engines.handler import SpeechHandler
    from transforms.inputs.listing import Inputs
    from transforms.plan_work import PlanConfig, PlanWork
    from transforms.records import (
        ChunkTranscript,
        DeadLetter,
        MediaChunk,
        MediaFile,
        MediaOutcome,
        Segment,
        SpeechWindow,
        Transcript,
        WindowResult,
    )
    from transforms.save_media import SaveConfig, SaveMedia
    from transforms.transcribe_speech import TranscribeSpeech
    from transforms.translate_text import TranslateConfig, TranslateText
    from transforms.work.store import WorkStore
    from transforms.work.transcripts import Provenance
    from transforms.write_dataset import DatasetConfig, WriteDataset

PLACES = {
    "collect_media": ("CollectMedia",),
    "inputs.listing": ("Inputs",),
    "plan_work": ("PlanWork", "PlanConfig"),
    "decode_audio": ("DecodeAudio", "DecodeConfig"),
    "transcribe_speech": ("TranscribeSpeech",),
    "translate_text": ("TranslateText", "TranslateConfig"),
    "save_media": ("SaveMedia", "SaveConfig"),
    "write_dataset": ("WriteDataset", "DatasetConfig"),
    "engines.handler": ("SpeechHandler",),
    "work.store": ("WorkStore",),
    "work.transcripts": ("Provenance",),
    "records": (
        "MediaFile", "MediaChunk", "SpeechWindow", "WindowResult", "ChunkTranscript", "Transcript", "Segment",
        "DeadLetter", "MediaOutcome",
    ),
}  # fmt: skip
MODULES = {name: module for module, names in PLACES.items() for name in names}

__all__ = [
    "ChunkTranscript",
    "CollectMedia",
    "DatasetConfig",
    "DeadLetter",
    "DecodeAudio",
    "DecodeConfig",
    "Inputs",
    "MediaChunk",
    "MediaFile",
    "MediaOutcome",
    "PlanConfig",
    "PlanWork",
    "Provenance",
    "SaveConfig",
    "SaveMedia",
    "Segment",
    "SpeechHandler",
    "SpeechWindow",
    "TranscribeSpeech",
    "Transcript",
    "TranslateConfig",
    "TranslateText",
    "WindowResult",
    "WorkStore",
    "WriteDataset",
]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"transforms.{MODULES[name]}"), name)
