"""The graph: every step of the product, in order.

Only small records cross a shuffle: what is planned before decoding, and which media are done before the dataset is
written. Everything between is one fused chain, depth first: a window is decoded, inferred, joined, translated and
saved before the next batch is, so audio never sits in a shuffle and a recording is on disk moments after its last
window. A recording that fails, or has less or nothing left to do, passes down the same chain. See
docs/architecture.md.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from beam_pipeline.run.job import Job
from transforms.collect_media import CollectMedia
from transforms.decode_audio import DecodeAudio
from transforms.engines.handler import SpeechHandler
from transforms.plan_work import PlanWork
from transforms.save_media import SaveMedia
from transforms.transcribe_speech import TranscribeSpeech
from transforms.translate_text import TranslateText
from transforms.write_dataset import WriteDataset


def build(pipeline: beam.Pipeline, job: Job) -> beam.PCollection[dict[str, Any]]:
    """Add the whole job to the pipeline; returns a PCollection with the one summary of the run."""
    return (
        pipeline
        | "CollectMedia" >> CollectMedia(job.inputs, job.watch)
        | "PlanWork" >> PlanWork(job.work, job.plan, job.watch)
        | "DecodeAudio" >> DecodeAudio(job.work, job.decode, job.watch)
        | "TranscribeSpeech"
        >> TranscribeSpeech(SpeechHandler(job.engine, job.thresholds), job.work, job.provenance, job.watch)
        | "TranslateText" >> TranslateText(job.work, job.translate, job.watch)
        | "SaveMedia" >> SaveMedia(job.work, job.save, job.watch)
        | "WriteDataset" >> WriteDataset(job.work, job.provenance, job.dataset, job.watch)
    )
