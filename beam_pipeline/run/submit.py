"""The graph handed to its runner, and waited for."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipeline.pipeline import build
from beam_pipeline.run.job import Job
from beam_pipeline.run.target import RunnerError, Target
from runners import direct
from runners.clusters import JobState, RemoteError, RemoteJob
from runners.dataflow.hints import give_hints
from transforms.work.exit_code import ExitCode

ASK_EVERY_S = 1.0
LOG_EVERY_S = 30.0
SUBMIT_S = 120.0  # for a job to appear where it runs
AWAY_S = 60.0  # that what runs it may be silent
GOES_ON = "the same command goes on where it was"

log = logging.getLogger("beam_pipeline")


def submit(target: Target, job: Job) -> Any:
    """Start the graph and return Beam's result."""
    options = PipelineOptions([f"--runner={target.runner}", *target.flags])
    pipeline = beam.Pipeline(runner=direct.direct_runner(options) if target.is_direct else None, options=options)
    build(pipeline, job)
    if target.hints:
        give_hints(pipeline, target.hints, shuffle="PlanWork/SpreadChunks")
    return pipeline.run()


def wait(target: Target, result: Any, detach: bool) -> bool:
    """Wait for the end of the job; False where it was left to what runs it, at once or by the user.

    Raises:
        RunnerError: it was cancelled, or is not known there any more.
        RuntimeError: it failed; the message is a stack trace, of which `outcome.cause` tells the user what matters.
    """
    remote = target.remote
    if remote is None:
        if result.wait_until_finish() == "CANCELLED":
            raise RunnerError("the job was cancelled")
        return True
    log.info("%s, see %s", remote.title, _link(remote, result))
    ended = None if detach or remote.staged else _ended(remote)
    if ended is None:
        return False
    if ended.cancelled:
        raise RunnerError(f"the job was cancelled at {remote.place}; {GOES_ON}")
    if ended.failed:
        raise RuntimeError(remote.cause() or f"the job failed, and {remote.place} does not say why")
    result.wait_until_finish()  # its metrics come with it
    return True


def _link(remote: RemoteJob, result: Any) -> str:
    """Where the job can be looked at, some seconds after it was submitted."""
    until = time.monotonic() + SUBMIT_S
    while time.monotonic() < until:
        if link := remote.link(result):
            return link
        time.sleep(ASK_EVERY_S)
    raise RunnerError(f"the job did not appear at {remote.place} within {SUBMIT_S:.0f} s; {GOES_ON}")


def _ended(remote: RemoteJob) -> JobState | None:
    """The state of the job when it has ended; None where the user left it running."""
    while True:
        try:
            with _signals_here(remote):
                return _watch(remote)
        except KeyboardInterrupt:
            choice = _asked(remote)
            if choice == "leave":
                return None
            if choice == "cancel":
                _cancel(remote)
                raise SystemExit(ExitCode.INTERRUPTED) from None


def _watch(remote: RemoteJob) -> JobState:
    """Follow the job to its end, saying now and then how far it is where no display does."""
    heard = logged = time.monotonic()
    known = ""
    while True:
        try:
            state = remote.state()
            heard = time.monotonic()
        except RemoteError as error:
            if time.monotonic() - heard > AWAY_S:
                raise RunnerError(f"{error}, for {AWAY_S:.0f} s; when it is back, {GOES_ON}") from error
            time.sleep(ASK_EVERY_S)
            continue
        if state is None:
            raise RunnerError(f"{remote.place} does not know the job any more: was it restarted? {GOES_ON}")
        if state.ended:
            return state
        if state.name != known or (not remote.is_here and time.monotonic() - logged > LOG_EVERY_S):
            known, logged = state.name, time.monotonic()
            _print_state(remote, state)
        time.sleep(ASK_EVERY_S)


def _print_state(remote: RemoteJob, state: JobState) -> None:
    saved = None
    with contextlib.suppress(RemoteError):  # a figure less
        saved = remote.saved()
    kind = remote.title.split()[0]
    if saved is None:
        log.info("%s job %s", kind, state.name)
    else:
        log.info("%s job %s, %d media saved", kind, state.name, saved)


@contextlib.contextmanager
def _signals_here(remote: RemoteJob) -> Iterator[None]:
    """Ctrl-C asks what to do, and a polite kill cancels the job; Beam's handler would end the job server alone."""

    def cancel(*_: object) -> None:
        _cancel(remote)
        raise SystemExit(ExitCode.TERMINATED)

    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def _asked(remote: RemoteJob) -> str:
    """What to do with the job at Ctrl-C: "cancel", "leave" or "go on". Where nobody can be asked, cancel."""
    if sys.stdin is None or not sys.stdin.isatty():
        return "cancel"
    sys.stderr.write(f"\nThe job runs at {remote.place}. [c]ancel it, [l]eave it running, or [g]o on watching? ")
    sys.stderr.flush()
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        return {"l": "leave", "g": "go on"}.get(sys.stdin.readline().strip().lower()[:1], "cancel")
    return "cancel"


def _cancel(remote: RemoteJob) -> None:
    try:
        remote.cancel()
    except RemoteError as error:
        log.error("stopped here, but the job could not be cancelled: %s", error)
    else:
        log.error("stopped: the %s job was cancelled; %s", remote.title.split()[0], GOES_ON)
