"""Runs a job: validates it, acquires the output, submits the graph, waits, and writes run.json."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import logging
import os
import signal
from typing import Any, NamedTuple

from beam_pipeline.errors import RunFailedError
from beam_pipeline.failures import retry_command
from beam_pipeline.outputs.last_run import LastRun
from beam_pipeline.run.found import find, kinds
from beam_pipeline.run.heartbeat import heartbeat
from beam_pipeline.run.job import Job, at_commit
from beam_pipeline.run.outcome import cause, tell_outcome
from beam_pipeline.run.places import check_input
from beam_pipeline.run.progress import Progress
from beam_pipeline.run.record import counters, first_record
from beam_pipeline.run.submit import submit, wait
from beam_pipeline.run.target import Target, check_scratch, find_target
from beam_pipeline.terminal import print_status
from runners.jobs import still_runs
from transforms.dofns.metrics import Watch
from transforms.engines.catalog import DEMO_NOTICE
from transforms.media.ffmpeg_command import ffmpeg_version
from transforms.media.ffmpeg_process import kill_decoders
from transforms.storage import join
from transforms.storage.secrets import LOGGED, redacted
from transforms.storage.texts import shell
from transforms.work.ending import end_run
from transforms.work.exit_code import ExitCode
from transforms.work.lease import Lease, OccupiedError, acquire
from transforms.work.own_files import OutputContents, commit_published, was_begun
from transforms.work.store import LOST, RECORD, clear_inventory_cache, json_bytes

STOPPED = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}

log = logging.getLogger("beam_pipeline")


class Ended(NamedTuple):
    """The result of a run."""

    code: ExitCode  # DONE or WITH_DEAD_LETTERS
    run: str
    output: str  # its one spelling
    # summary.json; nothing where the job was left to its cluster
    summary: dict[str, Any]


def launch(job: Job, flags: argparse.Namespace, beam_flags: list[str], words: list[str]) -> Ended:
    """Find the job's runner, validate the job, and run it to its end.

    Raises:
        ValueError: the flags cannot be meant.
        REFUSED: it cannot run there now.
        RunFailedError: it failed.
    """
    target = find_target(flags, beam_flags, job.work.run)
    check(job, target)
    return run(at_commit(job, flags), flags, target, words)


def check(job: Job, target: Target) -> None:
    """Validate the job before any work is done.

    Raises:
        ValueError: with what to do about it.
    """
    check_input(job.inputs)
    try:
        ffmpeg_version()
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"no ffmpeg: install it, or `pip install imageio-ffmpeg`, which ships one ({error})"
        ) from error
    check_scratch(target, job.inputs.stores)
    if target.remote is None:
        log.info("model %s on %s", job.model.name, job.engine.place())


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
        lease = acquire(job.work, still_runs=still_runs)
    except OSError as error:
        raise ValueError(f"--output {job.output} cannot be written: {error}") from error
    _stop_on_signals()
    with progress, heartbeat(lease, lambda: progress.counts):
        return Run(job, flags, target, words, lease, progress).to_its_end(found)


@dataclasses.dataclass
class Run:
    """One run, which holds the lease on its output."""

    # as it has to be done on this output, once the run has begun
    job: Job
    flags: argparse.Namespace
    target: Target
    words: list[str]  # the command line
    lease: Lease  # its claim
    progress: Progress
    record: dict[str, Any] | None = None  # run.json, once it is written
    results: list[Any] = dataclasses.field(default_factory=list)  # Beam's, of each time that the graph ran

    def to_its_end(self, found: OutputContents) -> Ended:
        """Run the job on the acquired output, and write its end into run.json.

        Raises:
            RunFailedError: it failed; the message is for the user.
        """
        try:
            self._begin(found)
            self._submit()
            if not wait(self.target, self.results[-1], self.flags.no_wait) and self._leave():
                return Ended(ExitCode.DONE, self.job.work.run, self.job.output, {})
            summary = self._settled()
            code = tell_outcome(self.job, summary)
            self._end(code)
        except Exception as error:
            # Beam raises what a step did, of whatever class, and its runners their own
            log.debug("the run failed", exc_info=error)
            with contextlib.suppress(OSError, OccupiedError):
                self._end(ExitCode.FAILED)
            raise RunFailedError(redacted(cause(error), LOGGED)) from error
        return Ended(code, self.job.work.run, self.job.output, summary)

    def _begin(self, found: OutputContents) -> None:
        """Prepare the acquired output for the run, and write run.json."""
        job = self.job
        if self.lease.previous_expired:
            job.work.store.sweep(job.output, functools.partial(was_begun, job.work, found.published))
        self.job = job = job.in_generation(anew=self.flags.overwrite)
        commit_published(job.work, found.published.with_run(kinds(job), job.dataset.num_shards))
        record = first_record(job, self.flags, self.target, self.words)
        job.work.store.put(join(job.output, RECORD), json_bytes(record, indent=1))
        self.record = record
        job.work.delete_other_plans()
        job.work.commit_gaps(found.gaps)
        job.work.commit_generation(finished=False)
        display = self.progress.address if self.target.is_here else ""
        port = self.flags.metrics_port if self.target.remote else 0  # its workers may outlive this process
        dataset = dataclasses.replace(job.dataset, retry=retry_command(LastRun(record, job.work)))
        self.job = dataclasses.replace(job, dataset=dataset, watch=Watch(display, port))

    def _submit(self) -> None:
        if self.job.model.is_demo:
            log.warning(DEMO_NOTICE)
        log.info("output %s", self.job.output)
        log.info("%s %s", self.target.runner, " ".join(self.target.flags))
        if self.target.remote:
            self.lease.renew(job=self.target.remote.record)
        self.results.append(submit(self.target, self.job))

    def _leave(self) -> bool:
        """Hand the lease over to the remote job, which ends the run itself; False if that job has ended already."""
        remote = self.target.remote
        assert remote
        self.lease.renew(left=True)
        if not remote.staged and not still_runs(remote.record):
            self.lease.renew(left=False)
            return False
        how = shell(["python", "-m", "beam_pipeline.status", "--output", self.job.output])
        print_status(f"left running as {self.target.name}. How far it is: {how}")
        return True

    def _settled(self) -> dict[str, Any]:
        """Return summary.json; damaged recordings are run again first, and the dataset is written again.

        To read every object before the work begins would cost each run what only few need. A job in a cluster ends
        with its dataset: there the next run does it.
        """
        summary = self._summary()
        if LOST not in summary["failures"] or self.target.remote is not None:
            return summary
        log.warning("what was committed of %d media cannot be read: they are done again", summary["failures"][LOST])
        self.progress.counts.clear()
        clear_inventory_cache()
        counted = ("media", "audio_sec", "dead_letters")
        before = tuple((name, summary["this_run"][name]) for name in counted if name in summary["this_run"])
        again = dataclasses.replace(self.job, dataset=dataclasses.replace(self.job.dataset, before=before))
        self.results.append(submit(self.target, again))
        wait(self.target, self.results[-1], detach=False)
        return self._summary()

    def _summary(self) -> dict[str, Any]:
        return json.loads(self.job.work.store.read(join(self.job.output, "summary.json")))

    def _end(self, code: ExitCode) -> None:
        end_run(self.job.work, self.lease, self.record, code, counters=counters(self.results))


def _stop_on_signals() -> None:
    """Ctrl-C and a polite kill end the run at once, with its decoders.

    An exception would not do: Beam wraps it, and waits for threads that wait for a model. What is committed is safe.
    """

    def stop(number: int, _: object) -> None:
        kill_decoders()
        with contextlib.suppress(OSError):  # nobody listens
            os.write(2, b"\nstopped. Run the same command again: it goes on where it was\n")
        os._exit(STOPPED[signal.Signals(number)])

    for number in STOPPED:
        signal.signal(number, stop)
