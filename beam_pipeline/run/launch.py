"""Running a job: what is checked first, what is told, and how it ends."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import logging
import math
import os
import platform
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions

from beam_pipeline.errors import RunFailedError
from beam_pipeline.failures import retry_command
from beam_pipeline.outputs.last_run import LastRun
from beam_pipeline.run.estimate import Extent, describe
from beam_pipeline.run.found import find, kinds
from beam_pipeline.run.heartbeat import alive
from beam_pipeline.run.job import Job, at_commit
from beam_pipeline.run.progress import Progress
from beam_pipeline.run.submit import RunnerError, Target, check_scratch, find_target, submit, wait
from beam_pipeline.terminal import answer, tell
from runners.dataflow.machines import DEFAULT_GPU, GPUS
from runners.jobs import still_runs
from runners.presets import DATAFLOW_WORKERS
from runners.versions import installed
from transforms.dofns.figures import STEPS
from transforms.dofns.metrics import Watch
from transforms.engines.catalog import DEMO_NOTICE, ModelError
from transforms.inputs.folders import Skipped, Tally, skipped_in_words
from transforms.inputs.identity import named
from transforms.inputs.listing import list_inputs
from transforms.media.ffmpeg_command import ffmpeg_version
from transforms.media.ffmpeg_process import kill_decoders
from transforms.plan_work import plan
from transforms.records import DeadLetter, MediaFile
from transforms.storage import join
from transforms.storage.secrets import LOGGED, redacted
from transforms.storage.texts import printable, shell
from transforms.work.exit_code import ExitCode
from transforms.work.layers import LOST, RECORD, forget_inventory, json_bytes
from transforms.work.lease import OccupiedError, Owner, check_owner, claim, now
from transforms.work.own_files import Found, commit_published, was_begun

PACKAGES = (
    "beam-pipeline", "apache-beam", "transformers", "torch", "onnxruntime", "silero-vad", "pyarrow", "numpy",
)  # fmt: skip
KNOWN_ERRORS = (  # their message is enough
    "ModelError", "StorageError", "LookupError", "PermissionError", "OSError", "OccupiedError",
    "TooManyFailuresError", "RunnerError", "WorkerError", "SecretError", "ScratchError",
)  # fmt: skip

REFUSED = (ModelError, RunnerError, OccupiedError, OSError)  # the run cannot begin now; stores raise OSErrors

log = logging.getLogger("beam_pipeline")


class Ended(NamedTuple):
    """How a run came to its end."""

    code: ExitCode  # DONE or WITH_DEAD_LETTERS
    run: str
    output: str  # its one spelling
    summary: dict[str, Any]  # summary.json; nothing where the job was left to its cluster


def launch(job: Job, flags: argparse.Namespace, beam_flags: list[str], words: list[str]) -> Ended:
    """Find where the job is to run, check that it can, and run it to its end.

    Raises:
        ValueError: the flags cannot be meant.
        REFUSED: it cannot run there now.
        RunFailedError: it failed.
    """
    target = find_target(flags, beam_flags, job.layers.run)
    check(job, target)
    return run(at_commit(job, flags), flags, target, words)


def check(job: Job, target: Target) -> None:
    """Find what cannot work before any work is done.

    Raises:
        ValueError: with what to do about it.
    """
    tally, letters = Tally(), list[DeadLetter]()
    if not any(isinstance(found, MediaFile) for found in _told(_listed(job), tally, letters)):
        reasons = "; ".join(f"{letter.media.id}: {letter.message}" for letter in letters[:3])
        passed_over = f" Passed over: {tally.words()}" if tally.words() else ""
        raise ValueError(f"no media found. {reasons}{passed_over}")
    try:
        ffmpeg_version()
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"no ffmpeg: install it, or `pip install imageio-ffmpeg`, which ships one ({error})"
        ) from error
    check_scratch(target, job.inputs.stores)
    if target.remote is None:
        log.info("model %s on %s", job.model.name, job.handler.engine.place())


def dry_run(job: Job, flags: argparse.Namespace, beam_flags: list[str]) -> int:
    """Print what a run would do with each media, one line each, the totals, and for Dataflow what they would cost.

    Raises:
        ValueError: Dataflow would not take it; found last, since the estimate is of use before all is in place.
        RunnerError: likewise.
    """
    counts: dict[str, int] = {}
    left = Extent()
    inventory, tally = dataclasses.replace(job.layers.list_now(), gaps=find(job).gaps), Tally()
    for found in named(_told(_listed(job), tally), job.layers):
        chunk = plan(found, job.layers, inventory, job.plan)
        todo = "done before" if chunk.saved else "write files" if chunk.transcribed else "transcribe"
        letter = chunk.failure or (job.layers.dead(chunk.media) if chunk.dead else None)
        todo = f"failed: {letter.code}" if letter else todo
        counts[todo] = counts.get(todo, 0) + 1
        if todo == "transcribe":
            left.add(chunk.media)
        if not answer(f"{todo:12}  {printable(chunk.media.id)}  ({chunk.media.size_bytes / 1e6:.1f} MB)"):
            return ExitCode.DONE
    answer(", ".join(f"{number} {todo}" for todo, number in counts.items()))
    if tally.words():
        answer(f"passed over: {printable(tally.words())}")
    if flags.runner.lower() == "dataflowrunner":
        most = PipelineOptions(beam_flags).view_as(WorkerOptions).max_num_workers or DATAFLOW_WORKERS
        gpu = GPUS.get(flags.dataflow_gpu or DEFAULT_GPU)
        answer(describe(left, job.plan.chunks, most, len(job.decode.tasks), gpu))
        find_target(flags, beam_flags, job.layers.run)
    return ExitCode.DONE


def run(job: Job, flags: argparse.Namespace, target: Target, words: list[str]) -> Ended:
    """Run the job to its end. `words` are the command line, to be told to the user again.

    Raises:
        ValueError: it cannot begin with these flags.
        OccupiedError: another run writes to the output.
        RunFailedError: it failed; the message is for the user.
    """
    try:
        progress = Progress(0 if target.remote else flags.metrics_port, shown=target.is_here)
    except OSError as error:
        raise ValueError(f"--metrics_port {flags.metrics_port} cannot be served: {error.strerror}") from error
    try:
        found = find(job)
        owner = claim(job.layers, still_runs=still_runs)
    except OSError as error:
        raise ValueError(f"--output {job.output} cannot be written: {error}") from error
    _stop_on_signals()
    with progress, alive(owner, lambda: progress.counts):
        return _run_owned(job, flags, target, words, progress, owner, found)


def _run_owned(
    job: Job,
    flags: argparse.Namespace,
    target: Target,
    words: list[str],
    progress: Progress,
    owner: Owner,
    found: Found,
) -> Ended:
    """Run the job on an output that is ours, and leave behind how it ended."""
    record, results = None, list[Any]()
    try:
        job, record = begin(job, owner, flags, target, words, found)
        if job.model.is_demo:
            log.warning(DEMO_NOTICE)
        log.info("output %s", job.output)
        log.info("%s %s", target.runner, " ".join(target.flags))
        if target.remote:
            owner.beat(job=target.remote.record)
        display = progress.address if target.is_here else ""
        watch = Watch(display, flags.metrics_port if target.remote else 0)  # its workers may outlive this process
        job = dataclasses.replace(job, watch=watch)
        results.append(submit(target, job))
        if not wait(target, results[-1], flags.no_wait) and _leave(owner, target, job):
            return Ended(ExitCode.DONE, job.layers.run, job.output, {})
        summary = _summary(job)
        if LOST in summary["failures"] and target.remote is None:
            progress.counts.clear()
            results.append(_once_more(job, target, summary))
            summary = _summary(job)
        code = _finish(job, summary)
        job.layers.commit_generation(finished=True)
        _end_record(job, record, code, results)
    except Exception as error:
        log.debug("the run failed", exc_info=error)
        with contextlib.suppress(OSError, OccupiedError):
            check_owner(job.layers)
            if record is not None:
                _end_record(job, record, ExitCode.FAILED, results)
        raise RunFailedError(redacted(cause(error), LOGGED)) from error
    return Ended(code, job.layers.run, job.output, summary)


def _once_more(job: Job, target: Target, summary: dict[str, Any]) -> Any:
    """Do what was found damaged when the dataset was written, and write it again; gives Beam's result.

    To read every object before the work begins would cost each run what only few need. A job in a cluster ends with
    its dataset: there the next run does it.
    """
    log.warning("what was committed of %d media cannot be read: they are done again", summary["failures"][LOST])
    forget_inventory()
    counted = ("media", "audio_sec", "dead_letters")
    before = tuple((name, summary["this_run"][name]) for name in counted if name in summary["this_run"])
    result = submit(target, dataclasses.replace(job, dataset=dataclasses.replace(job.dataset, before=before)))
    wait(target, result, detach=False)
    return result


def begin(
    job: Job, owner: Owner, flags: argparse.Namespace, target: Target, words: list[str], found: Found
) -> tuple[Job, dict[str, Any]]:
    """Make an output that is ours ready for the run; gives the job as it has to be done there, and its record."""
    if owner.found_dead:
        job.layers.store.sweep(job.output, functools.partial(was_begun, job.layers, found.published))
    job = job.in_generation(anew=flags.overwrite)
    commit_published(job.layers, found.published.with_run(kinds(job), job.dataset.num_shards))
    record = _start_record(job, flags, target, words)
    retry = retry_command(LastRun(record, job.layers))
    job.layers.forget_plans()
    job.layers.commit_gaps(found.gaps)
    job.layers.commit_generation(finished=False)
    return dataclasses.replace(job, dataset=dataclasses.replace(job.dataset, retry=retry)), record


def _leave(owner: Owner, target: Target, job: Job) -> bool:
    """Give the output over to the job in its cluster, which ends the run then; False where it has ended already."""
    assert target.remote
    owner.beat(left=True)
    if not target.remote.staged and not still_runs(target.remote.record):
        owner.beat(left=False)
        return False
    how = shell(["python", "-m", "beam_pipeline.status", "--output", job.output])
    tell(f"left running as {target.name}. How far it is: {how}")
    return True


def cause(error: BaseException) -> str:
    """What went wrong, out of the worker's stack trace that Beam hands on as text.

    Of the errors that tell the user what to do, the message alone; of others the last lines of the trace too.
    """
    text = re.sub(r" \[while running .*", "", str(error)).strip()
    if type(error).__name__ in KNOWN_ERRORS:
        return text
    for name, message in reversed(re.findall(r"\b(\w*Error): (.*)$", text, re.MULTILINE)):  # Java's may stand before
        if name in KNOWN_ERRORS:
            return message
    lines = [line for line in text.splitlines() if not re.match(r"\s+(at |\.\.\. \d+ more)", line)]  # Java's frames
    return "\n".join([type(error).__name__, *lines[-8:]])


def _listed(job: Job) -> Iterator[MediaFile | DeadLetter | Skipped]:
    return list_inputs(b"", job.inputs)


def _told(
    listed: Iterable[MediaFile | DeadLetter | Skipped], tally: Tally, letters: list[DeadLetter] | None = None
) -> Iterator[MediaFile | DeadLetter]:
    """What was listed but for what was passed over, which goes into the tally."""
    for found in listed:
        if isinstance(found, Skipped):
            tally.add(found)
            continue
        if letters is not None and isinstance(found, DeadLetter):
            letters.append(found)
        yield found


def _finish(job: Job, summary: dict[str, Any]) -> ExitCode:
    """Say what came out, and give the exit code of it."""
    this_run = summary["this_run"]
    tell(f"{summary['transcripts']} transcripts, {summary['dead_letters']} dead letters in {printable(job.output)}")
    if this_run.get("audio_sec"):
        audio, wall = this_run["audio_sec"], this_run["wall_sec"]
        tell(f"this run: {audio:.0f} s of audio in {wall:.0f} s, {audio / max(wall, 0.1):.1f} x real time")
    if summary["skipped"]:
        log.info("passed over: %s. Which: --dry_run", skipped_in_words(summary))
    if files := this_run.get("files_removed"):
        tell(f"{this_run['left']} media left the input: {files} files of theirs were removed")
    if left := this_run.get("left_and_kept"):
        tell(f"{left} media left the input, as it seems; not all of it could be listed, so their files were kept")
    if not summary["dead_letters"]:
        return ExitCode.DONE
    failures = ", ".join(f"{number} {code}" for code, number in summary["failures"].items())
    why = shell(["python", "-m", "beam_pipeline.failures", "--output", job.output])
    tell(f"not done: {failures}. Why, and how to try again: {why}")
    failed = this_run.get("dead_letters", 0)
    job.save.limit.check(failed, failed + this_run.get("media", 0), at_end=True)
    return ExitCode.WITH_DEAD_LETTERS


def _start_record(job: Job, flags: argparse.Namespace, target: Target, words: list[str]) -> dict[str, Any]:
    """Write run.json: all that is needed to run this again."""
    fingerprints = ("asr", "saved", "translation", "translation_language", "generation")
    record = {
        "run": job.layers.run,
        "command": words,
        "options": {name: _finite(value) for name, value in sorted(vars(flags).items()) if name != "config"},
        "beam_options": target.flags,
        "layers": {name: getattr(job.layers, name) for name in fingerprints},
        "model": job.model._asdict(),
        "versions": _versions(),
        "host": platform.node(),
        "started": now(),
        "num_shards": job.dataset.num_shards,
    }
    if job.model.is_demo:
        record["notice"] = DEMO_NOTICE
    job.layers.store.put(join(job.output, RECORD), json_bytes(record, indent=1))
    return record


def _summary(job: Job) -> dict[str, Any]:
    return json.loads(job.layers.store.read(join(job.output, "summary.json")))


def _end_record(job: Job, record: dict[str, Any], code: int, results: list[Any]) -> None:
    figures: Counter[str] = Counter()
    for result in results:
        counters = result.metrics().query()["counters"]
        names = {(each.key.metric.namespace, each.key.metric.name): each.result for each in counters}
        figures.update({f"{space}.{name}": value for (space, name), value in names.items() if space in STEPS})
    ended = {**record, "ended": now(), "exit_code": code, "counters": figures}
    job.layers.store.put(join(job.output, RECORD), json_bytes(ended, indent=1))


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "ffmpeg": ffmpeg_version(), **installed(PACKAGES)}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value  # JSON knows no infinity


def _stop_on_signals() -> None:
    """Ctrl-C and a polite kill end the run at once, with its decoders.

    An exception would not do: Beam wraps it, and waits for threads that wait for a model. What is committed is safe.
    """

    def stop(number: int, _: object) -> None:
        kill_decoders()
        with contextlib.suppress(OSError):  # nobody listens
            os.write(2, b"\nstopped. Run the same command again: it goes on where it was\n")
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
