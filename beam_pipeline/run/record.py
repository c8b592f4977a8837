"""run.json: all that is needed to run this again, and what it took."""

from __future__ import annotations

import argparse
import math
import platform
from collections import Counter
from typing import Any

from beam_pipeline.run.job import Job
from beam_pipeline.run.target import Target
from runners.versions import installed
from transforms.dofns.figures import STEPS
from transforms.engines.catalog import DEMO_NOTICE
from transforms.media.ffmpeg_command import ffmpeg_version
from transforms.work.ending import now

PACKAGES = (
    "beam-pipeline", "apache-beam", "transformers", "torch", "onnxruntime", "silero-vad", "pyarrow", "numpy",
)  # fmt: skip
FINGERPRINTS = ("asr", "saved", "translation", "translation_language", "generation")


def first_record(job: Job, flags: argparse.Namespace, target: Target, words: list[str]) -> dict[str, Any]:
    """What run.json says when the run begins; `words` are its command line."""
    record = {
        "run": job.work.run,
        "command": words,
        "options": {name: _finite(value) for name, value in sorted(vars(flags).items()) if name != "config"},
        "beam_options": target.flags,
        "layers": {name: getattr(job.work, name) for name in FINGERPRINTS},
        "model": job.model._asdict(),
        "versions": _versions(),
        "host": platform.node(),
        "started": now(),
        "num_shards": job.dataset.num_shards,
    }
    if job.model.is_demo:
        record["notice"] = DEMO_NOTICE
    return record


def counters(results: list[Any]) -> Counter[str]:
    """What the steps counted, over all of Beam's results of a run: {"decode.media": 7}."""
    figures: Counter[str] = Counter()
    for result in results:
        found = result.metrics().query()["counters"]
        names = {(each.key.metric.namespace, each.key.metric.name): each.result for each in found}
        figures.update({f"{space}.{name}": value for (space, name), value in names.items() if space in STEPS})
    return figures


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "ffmpeg": ffmpeg_version(), **installed(PACKAGES)}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value  # JSON knows no infinity
