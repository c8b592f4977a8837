"""A job on a Flink cluster: where it may run, the flags it needs there, and how it is followed."""

from __future__ import annotations

from typing import Any

from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, PortableOptions

from runners import presets, versions
from runners.clusters import JobState
from runners.flink import parts
from runners.flink.parts import FlinkError
from runners.flink.rest import Cluster, ClusterFacts, is_this_host, listens

EMBEDDED = ("[local]", "[auto]")


def find(job: presets.Job, options: PipelineOptions) -> tuple[list[str], FlinkJob | None]:
    """The flags for the place that the options name, and the job there; no job where Flink is embedded.

    Raises:
        FlinkError: it cannot run there; the message says why and what to do.
    """
    asked = options.view_as(FlinkRunnerOptions)
    known = options.get_all_options()
    has_server = known.get("job_endpoint") or asked.flink_job_server_jar
    parts.java()
    minor = parts.version("flink")
    if asked.flink_master in EMBEDDED:
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
    return presets.flink(job, place), FlinkJob(cluster, job.name)


def _check(facts: ClusterFacts, cluster: Cluster, options: PipelineOptions) -> None:
    """Find what would fail only after minutes, or leave the job waiting for ever."""
    published = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    if facts.minor not in published and not options.view_as(FlinkRunnerOptions).flink_job_server_jar:
        raise FlinkError(
            f"the cluster at {cluster.url} is Flink {facts.version}; Beam has a job server for {', '.join(published)}"
        )
    if not facts.hosts:
        raise FlinkError(f"the cluster at {cluster.url} has no TaskManager: start one")
    parallelism = options.get_all_options().get("parallelism") or 0
    if facts.free_slots < max(1, parallelism):
        wanted = f"{parallelism} are asked for with --parallelism" if parallelism > 1 else "the job needs one"
        raise FlinkError(
            f"the cluster at {cluster.url} has {facts.free_slots} free slots of {facts.slots}, and {wanted}: "
            "wait until other jobs end, or add TaskManagers"
        )
    theirs = options.view_as(PortableOptions).environment_type  # the user knows better
    if not theirs and is_this_host(cluster.host) and not listens(facts.workers):
        raise FlinkError(
            f"no pool of Python workers answers at {facts.workers}, for the cluster at {cluster.url}: "
            "start it beside the TaskManager with `python -m runners.flink.workers`, or all of a cluster with "
            "script/flink-up"
        )


class FlinkJob:
    """A `RemoteJob`. Flink gives a job its id some seconds after it was submitted, so the name is what finds it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self._name = cluster, name
        self.title, self.place = f"Flink job {name}", cluster.url
        self.record = {"flink": cluster.url, "name": name}
        self.is_here, self.staged = is_this_host(cluster.host), False

    def link(self, result: Any) -> str | None:
        job = self._cluster.job_named(self._name)
        if job is None and result.state in ("FAILED", "CANCELLED"):
            result.wait_until_finish()  # raises why
        return job and f"{self.place}/#/job/{job.id}/overview"

    def state(self) -> JobState | None:
        job = self._cluster.job_named(self._name)
        return job and JobState(job.state.lower(), job.ended, job.state == "FAILED", job.state == "CANCELED")

    def saved(self) -> int | None:
        job = self._cluster.job_named(self._name)
        return job and self._cluster.records_out(job, "SaveMedia")

    def cause(self) -> str:
        job = self._cluster.job_named(self._name)
        return self._cluster.cause(job) if job else ""

    def cancel(self) -> None:
        if (job := self._cluster.job_named(self._name)) and not job.ended:
            self._cluster.cancel(job)
