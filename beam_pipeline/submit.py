"""Where the graph runs: the runner that the flags ask for, what it lacks, and how it is waited for."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions, StandardOptions

from beam_pipeline.job import Job
from beam_pipeline.pipeline import build
from runners import direct, presets, versions
from runners.flink import parts
from runners.flink.parts import FlinkError
from runners.flink.rest import Cluster, ClusterFacts, is_this_host, listens
from runners.flink.rest import Job as FlinkJob

NOT_A_CLUSTER = ("[local]", "[auto]")
ASK_EVERY_S = 1.0
LOG_EVERY_S = 30.0
SUBMIT_S = 120.0  # for a job to appear in the cluster
AWAY_S = 60.0  # that a JobManager may be silent
GOES_ON = "the same command goes on where it was"

log = logging.getLogger("beam_pipeline")


class RunnerError(Exception):
    """The job cannot run where it is meant to, or ended there; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Where the graph runs, with every flag of Beam's."""

    runner: str
    flags: list[str]
    name: str  # of the job
    cluster: Cluster | None = None

    @property
    def is_direct(self) -> bool:
        return self.runner.lower() in direct.NAMES

    @property
    def is_here(self) -> bool:
        """Whether the workers are on this machine, where the display hears them."""
        return self.cluster is None or is_this_host(self.cluster.host)

    @property
    def job(self) -> dict[str, str] | None:
        """How to find the job where it goes on without this process; None where it cannot."""
        return {"flink": self.cluster.url, "name": self.name} if self.cluster else None


def find_target(flags: argparse.Namespace, given: list[str], run: str) -> Target:
    """Where the flags want the job to run, when it can be reached and has what the job needs.

    Raises:
        ValueError: the flags contradict each other.
        RunnerError: it cannot run there.
    """
    options = PipelineOptions(given)
    job = presets.Job(f"beam-pipeline-{run}", bool(options.view_as(StandardOptions).streaming))
    name = options.get_all_options().get("job_name") or job.name
    runner, cluster = flags.runner, None
    if runner.lower() == "flinkrunner":
        preset, cluster = _flink(job, options)
    elif runner.lower() == "dataflowrunner":
        preset = presets.dataflow(job)
    else:
        preset = presets.direct(job)
    if flags.no_wait and cluster is None:
        raise ValueError(
            "--no_wait needs a cluster to leave the job to: --runner=FlinkRunner --flink_master=HOST:PORT"
        )
    return Target(runner, presets.merged(preset, given), name, cluster)


def _flink(job: presets.Job, options: PipelineOptions) -> tuple[list[str], Cluster | None]:
    """The preset, and the cluster where it is not an embedded one."""
    asked = options.view_as(FlinkRunnerOptions)
    known = options.get_all_options()
    has_server = known.get("job_endpoint") or asked.flink_job_server_jar
    try:
        parts.java()
        minor = parts.version("flink")
        if asked.flink_master in NOT_A_CLUSTER:
            jar = "" if has_server else str(parts.job_server())
            return presets.flink(job, presets.FlinkPlace(jar, minor)), None
        cluster = Cluster(asked.flink_master)
        facts = cluster.facts()
        _check(facts, cluster, options)
        ours = facts.minor == minor and not has_server
        place = presets.FlinkPlace(
            job_server_jar=str(parts.job_server()) if ours else "",
            minor=facts.minor,
            master=asked.flink_master,
            free_slots=facts.free_slots,
            workers=facts.workers,
            versions=versions.versions(),
        )
        return presets.flink(job, place), cluster
    except FlinkError as error:
        raise RunnerError(str(error)) from error


def _check(facts: ClusterFacts, cluster: Cluster, options: PipelineOptions) -> None:
    """Find what would fail only after minutes, or leave the job waiting for ever."""
    published = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    if facts.minor not in published and not options.view_as(FlinkRunnerOptions).flink_job_server_jar:
        raise RunnerError(
            f"the cluster at {cluster.url} is Flink {facts.version}; Beam has a job server for {', '.join(published)}"
        )
    if not facts.hosts:
        raise RunnerError(f"the cluster at {cluster.url} has no TaskManager: start one")
    parallelism = options.get_all_options().get("parallelism") or 0
    if facts.free_slots < max(1, parallelism):
        wanted = f"{parallelism} are asked for with --parallelism" if parallelism > 1 else "the job needs one"
        raise RunnerError(
            f"the cluster at {cluster.url} has {facts.free_slots} free slots of {facts.slots}, and {wanted}: "
            "wait until other jobs end, or add TaskManagers"
        )
    theirs = options.view_as(PortableOptions).environment_type  # the user knows better
    if not theirs and is_this_host(cluster.host) and not listens(facts.workers):
        raise RunnerError(
            f"no pool of Python workers answers at {facts.workers}, for the cluster at {cluster.url}: "
            "start it beside the TaskManager with `python -m runners.flink.workers`, or all of a cluster with "
            "script/flink-up"
        )


def submit(target: Target, job: Job) -> Any:
    """Start the graph and return Beam's result."""
    options = PipelineOptions([f"--runner={target.runner}", *target.flags])
    pipeline = beam.Pipeline(runner=direct.direct_runner(options) if target.is_direct else None, options=options)
    build(pipeline, job)
    return pipeline.run()


def wait(target: Target, result: Any, detach: bool) -> bool:
    """Wait for the end of the job; False where it was left to its cluster, at once or by the user.

    Raises:
        RunnerError: it was cancelled, or the cluster lost it.
        RuntimeError: it failed; the message is a stack trace, of which `launch.cause` tells the user what matters.
    """
    if target.cluster is None:
        if result.wait_until_finish() == "CANCELLED":
            raise RunnerError("the job was cancelled")
        return True
    job = _appeared(target, target.cluster, result)
    log.info("Flink job %s (%s), see %s/#/job/%s/overview", target.name, job.id, target.cluster.url, job.id)
    ended = None if detach else _ended(target, target.cluster)
    if ended is None:
        return False
    if ended.state == "CANCELED":
        raise RunnerError(f"the job was cancelled at {target.cluster.url}; {GOES_ON}")
    if ended.state == "FAILED":
        raise RuntimeError(target.cluster.cause(ended) or "the job failed, and Flink does not say why")
    result.wait_until_finish()  # its metrics come with it
    return True


def _appeared(target: Target, cluster: Cluster, result: Any) -> FlinkJob:
    """The job as the cluster knows it, some seconds after it was submitted."""
    until = time.monotonic() + SUBMIT_S
    while time.monotonic() < until:
        if job := cluster.job_named(target.name):
            return job
        if result.state in ("FAILED", "CANCELLED"):
            result.wait_until_finish()  # raises why
        time.sleep(ASK_EVERY_S)
    raise RunnerError(f"the job did not appear at {cluster.url} within {SUBMIT_S:.0f} s; {GOES_ON}")


def _ended(target: Target, cluster: Cluster) -> FlinkJob | None:
    """The job when it has ended; None where the user left it running."""
    while True:
        try:
            with _signals_here(target, cluster):
                return _watch(target, cluster)
        except KeyboardInterrupt:
            choice = _asked()
            if choice == "leave":
                return None
            if choice == "cancel":
                _cancel(target, cluster)
                raise SystemExit(128 + signal.SIGINT) from None


def _watch(target: Target, cluster: Cluster) -> FlinkJob:
    """Follow the job to its end, saying now and then how far it is where no display does."""
    heard = logged = time.monotonic()
    state = ""
    while True:
        try:
            job = cluster.job_named(target.name)
            heard = time.monotonic()
        except FlinkError as error:
            if time.monotonic() - heard > AWAY_S:
                raise RunnerError(f"{error}, for {AWAY_S:.0f} s; when it is back, {GOES_ON}") from error
            time.sleep(ASK_EVERY_S)
            continue
        if job is None:
            raise RunnerError(
                f"the cluster at {cluster.url} does not know the job any more: was it restarted? {GOES_ON}"
            )
        if job.ended:
            return job
        if job.state != state or (not target.is_here and time.monotonic() - logged > LOG_EVERY_S):
            state, logged = job.state, time.monotonic()
            log.info("Flink job %s, %d media saved", job.state.lower(), cluster.records_out(job, "SaveMedia"))
        time.sleep(ASK_EVERY_S)


@contextlib.contextmanager
def _signals_here(target: Target, cluster: Cluster) -> Iterator[None]:
    """Ctrl-C asks what to do, and a polite kill cancels the job; Beam's handler would end the job server alone."""

    def cancel(*_: object) -> None:
        _cancel(target, cluster)
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def _asked() -> str:
    """What to do with the job at Ctrl-C: "cancel", "leave" or "go on". Where nobody can be asked, cancel."""
    if not sys.stdin.isatty():
        return "cancel"
    sys.stderr.write("\nThe job runs in the cluster. [c]ancel it, [l]eave it running, or [g]o on watching? ")
    sys.stderr.flush()
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        return {"l": "leave", "g": "go on"}.get(sys.stdin.readline().strip().lower()[:1], "cancel")
    return "cancel"


def _cancel(target: Target, cluster: Cluster) -> None:
    with contextlib.suppress(FlinkError):
        if (job := cluster.job_named(target.name)) and not job.ended:
            cluster.cancel(job)
    log.error("stopped: the Flink job was cancelled; %s", GOES_ON)
