"""What a run would do with each recording, and for Dataflow what that would cost: found without doing any of it.

For people, one line a recording and the totals. For programs, one JSON document:

    media              one object each: id, todo, size_bytes, and code where todo is "failed", else null
    totals             how many media there are of each `todo`
    failures           how many have failed, by code
    skipped            what was passed over, by reason, as in summary.json
    skipped_suffixes   the same by suffix, of the reason not_by_suffix
    estimate           what it would take on Dataflow; null where the runner is another
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions

from beam_pipeline.run.estimate import Extent, Outlook, foresee
from beam_pipeline.run.found import find
from beam_pipeline.run.job import Job
from beam_pipeline.run.target import find_target
from beam_pipeline.terminal import print_result
from runners.dataflow.machines import DEFAULT_GPU, GPUS
from runners.presets import DATAFLOW_WORKERS
from transforms.inputs.folders import Skipped, Tally
from transforms.inputs.identity import named
from transforms.inputs.listing import Found, list_inputs
from transforms.plan_work import plan
from transforms.records import MediaFile
from transforms.storage.texts import printable
from transforms.work.exit_code import ExitCode
from transforms.work.store import Inventory


class Todo(enum.StrEnum):
    """What a run would do with a recording."""

    DONE = "done"  # nothing: an earlier run did it
    WRITE_FILES = "write_files"  # it has a transcript, which is written in other formats
    TRANSCRIBE = "transcribe"
    # nothing: it cannot be listed, or an earlier run failed on it
    FAILED = "failed"


IN_WORDS = {Todo.DONE: "done before", Todo.WRITE_FILES: "write files", Todo.TRANSCRIBE: "transcribe"}


class Fate(NamedTuple):
    """What a run would do with one recording, as a record."""

    todo: Todo
    code: str | None = None  # of the failure

    def words(self) -> str:
        return f"failed: {self.code}" if self.code else IN_WORDS[self.todo]


@dataclasses.dataclass
class Seen:
    """The counts of the recordings so far."""

    counts: Counter[Fate] = dataclasses.field(default_factory=Counter)
    passed_over: Tally = dataclasses.field(default_factory=Tally)
    left: Extent = dataclasses.field(default_factory=Extent)


Media = Iterator[tuple[MediaFile, Fate]]
Foretell = Callable[[], Outlook | None]


def dry_run(job: Job, flags: argparse.Namespace, beam_flags: list[str]) -> ExitCode:
    """Print what a run would do, as it is found.

    Raises:
        ValueError: Dataflow would not take it; found last, since the estimate is of use before all is in place.
        RunnerError: likewise.
    """
    on_dataflow, seen = flags.runner.lower() == "dataflowrunner", Seen()

    def foretell() -> Outlook | None:
        return _outlook(job, flags, beam_flags, seen.left) if on_dataflow else None

    inventory = dataclasses.replace(job.work.list_now(), gaps=find(job).gaps)
    lines = _as_json if flags.json else _as_text
    if not all(map(print_result, lines(_media(job, inventory, seen), seen, foretell))):
        return ExitCode.DONE  # the reader has seen enough
    if on_dataflow:
        find_target(flags, beam_flags, job.work.run)
    return ExitCode.DONE


def _media(job: Job, inventory: Inventory, seen: Seen) -> Media:
    """Every recording with what a run would do with it; counts each."""
    for found in named(_listed(job, seen.passed_over), job.work):
        chunk = plan(found, job.work, inventory, job.plan)
        letter = chunk.failure or (job.work.dead_letter(chunk.media) if chunk.dead else None)
        todo = Todo.DONE if chunk.saved else Todo.WRITE_FILES if chunk.transcribed else Todo.TRANSCRIBE
        fate = Fate(Todo.FAILED, letter.code) if letter else Fate(todo)
        seen.counts[fate] += 1
        if fate.todo is Todo.TRANSCRIBE:
            seen.left.add(chunk.media)
        yield chunk.media, fate


def _listed(job: Job, passed_over: Tally) -> Iterator[Found]:
    """What the input holds, but for what is passed over, which is counted."""
    for found in list_inputs(b"", job.inputs):
        if isinstance(found, Skipped):
            passed_over.add(found)
        else:
            yield found


def _as_text(media: Media, seen: Seen, foretell: Foretell) -> Iterator[str]:
    for each, fate in media:
        yield f"{fate.words():12}  {printable(each.id)}  ({each.size_bytes / 1e6:.1f} MB)"
    yield ", ".join(f"{number} {fate.words()}" for fate, number in seen.counts.items())
    if words := seen.passed_over.words():
        yield f"passed over: {printable(words)}"
    if outlook := foretell():
        yield outlook.words()


def _as_json(media: Media, seen: Seen, foretell: Foretell) -> Iterator[str]:
    """The lines of the document, a recording each: a listing of millions is never held as text."""
    yield '{"media": ['
    comma = ""
    for each, fate in media:
        row = {"id": each.id, "todo": fate.todo, "size_bytes": each.size_bytes, "code": fate.code}
        yield comma + json.dumps(row)
        comma = ","
    outlook = foretell()
    rest = {
        "totals": {todo: sum(number for fate, number in seen.counts.items() if fate.todo is todo) for todo in Todo},
        "failures": {fate.code: number for fate, number in seen.counts.items() if fate.code},
        **seen.passed_over.figures(),
        "estimate": outlook.figures() if outlook else None,
    }
    yield "], " + json.dumps(rest).removeprefix("{")


def _outlook(job: Job, flags: argparse.Namespace, beam_flags: list[str], left: Extent) -> Outlook:
    """What all that is left would take on the workers that the flags ask Dataflow for."""
    most = PipelineOptions(beam_flags).view_as(WorkerOptions).max_num_workers or DATAFLOW_WORKERS
    gpu = GPUS.get(flags.dataflow_gpu or DEFAULT_GPU)
    return foresee(left, job.plan.chunks, most, len(job.decode.tasks), gpu)
