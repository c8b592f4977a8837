"""Parts of a job that are made where they are used, from what a classic template is started with.

While the graph is built a part is what the build's flags make of it. Pickled, it is a name: the worker that unpickles
it makes the job anew, with the flags of the build and those in `LATE` that the template was started with. Of the
workers of one Dataflow job, the first claims the output for all.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import shlex
import threading
from collections.abc import Sequence
from typing import Any, TypeVar

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.options.value_provider import RuntimeValueProvider

from beam_pipeline import launch, options
from beam_pipeline.failures import retry_command
from beam_pipeline.found import find
from beam_pipeline.job import Job, make_job
from beam_pipeline.last_run import LastRun
from beam_pipeline.submit import Target
from runners.remote import still_runs
from transforms.owner import OccupiedError, claim, latest

LATE = {  # when the template is started
    "input": "Media, folders, patterns or manifests, gs:// or s3://; several with spaces between them",
    "output": "Folder to write to, gs:// or s3://",
    "language": "Code of the language of all media, such as hi; found if empty",
    "translate_to": "Code of the language to translate to, such as en; none if empty",
    "model": "Whisper checkpoint: id on the Hugging Face hub, or a folder of the image",
}
PARTS = ("inputs", "layers", "decode", "handler", "provenance", "translate", "dataset")  # of a job, that LATE decides

Part = TypeVar("Part")

_built_here: dict[tuple[str, str], Any] = {}
_starting = threading.Lock()


def late_job(job: Job, flags: dict[str, Any], beam_flags: Sequence[str]) -> Job:
    """The job with those of its parts made in the worker that depend on what the template is started with."""
    built = json.dumps({**flags, "beam_flags": list(beam_flags), "by_llm": job.translate.openai is not None})
    return dataclasses.replace(job, **{name: late(getattr(job, name), name, built) for name in PARTS})


def late(value: Part, name: str, built: str) -> Part:
    """The value as it is while the graph is built; a worker unpickles it as the part that the job has there."""
    kind = type(value)
    made: Any = type(kind.__name__, (kind,), {"__reduce__": lambda _: (part, (name, built))})
    copy = object.__new__(made)
    copy.__dict__.update(vars(value))
    _built_here[name, built] = copy
    return copy


def part(name: str, built: str) -> Any:
    """A part of the job that this worker has to do; or of the one whose graph is built here: Beam copies it so."""
    if (name, built) in _built_here:
        return _built_here[name, built]
    started: dict[str, str] = RuntimeValueProvider.runtime_options or {}
    with _starting:  # of the threads of a worker one claims the output
        return getattr(_started(built, tuple((each, started[each]) for each in LATE if started.get(each))), name)


@functools.cache
def _started(built: str, given: tuple[tuple[str, str], ...]) -> Job:
    """The job that a template was started for, on an output that is its own.

    Raises:
        ValueError: what was given cannot be.
        OccupiedError: another run writes to the output.
    """
    known = {**json.loads(built), **dict(given)}
    if missing := [f"--{name}" for name in ("input", "output") if name not in dict(given)]:
        raise ValueError(f"the template was started without {' and '.join(missing)}")
    beam_flags, by_llm = known.pop("beam_flags"), known.pop("by_llm")
    flags = argparse.Namespace(**{**known, "input": shlex.split(known["input"])})
    words = [*_words(flags), *beam_flags]
    job = make_job(flags)
    if (job.translate.openai is not None) != by_llm:
        raise ValueError(f"--translate_to {flags.translate_to} needs a template that was built for its --translator")
    job = _owned(_of_this_run(job), flags, Target(flags.runner, beam_flags, os.environ["JOB_NAME"]), words)
    retry = retry_command(LastRun({"command": words}, job.layers))
    return dataclasses.replace(job, dataset=dataclasses.replace(job.dataset, retry=retry))


def _words(flags: argparse.Namespace) -> list[str]:
    """The command line of these flags."""
    made, words = options.parser(), list[str]()
    for action in made._actions:
        value = getattr(flags, action.dest, action.default)
        if value != action.default:
            words += options.tokens(action.option_strings[0], value, switch=action.nargs == 0)
    return words


def _of_this_run(job: Job) -> Job:
    """The job under a name that every worker of a Dataflow job finds, and no other job."""
    run = hashlib.sha256(os.environ["JOB_ID"].encode()).hexdigest()[:12]  # set by the boot program of Beam's images
    return dataclasses.replace(job, layers=dataclasses.replace(job.layers, run=run))


def _owned(job: Job, flags: argparse.Namespace, target: Target, words: list[str]) -> Job:
    """The job in the generation that its output is in; whichever worker comes first claims it for all."""
    try:
        found = None if _is_ours(job) else find(job)
        owner = found and claim(job.layers, still_runs=still_runs)
    except (OccupiedError, ValueError):  # another worker of this job may have begun to write
        if not _is_ours(job):
            raise
        owner = None
    if found is None or owner is None:
        return job.in_generation(anew=False)
    job, _ = launch.begin(job, owner, flags, target, words, found)
    google = PipelineOptions(target.flags).view_as(GoogleCloudOptions)
    owner.beat(job={"dataflow": google.region, "project": google.project, "name": target.name}, left=True)
    return job


def _is_ours(job: Job) -> bool:
    found = latest(job.layers)
    return found is not None and found[1].get("run") == job.layers.run
