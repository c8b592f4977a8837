"""Where the graph is to run: the runner that the flags ask for, when it can be reached and has what the job needs."""

from __future__ import annotations

import argparse
import dataclasses

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions

from runners import direct, presets
from runners.clusters import RemoteError, RemoteJob
from runners.dataflow import job as dataflow
from runners.dataflow.machines import DEFAULT_GPU
from runners.flink import job as flink
from transforms.engines.catalog import ModelError
from transforms.storage import Stores, join
from transforms.work.lease import OccupiedError


class RunnerError(Exception):
    """The job cannot run where it is meant to, or ended there; the message says why and what to do."""


REFUSED = (ModelError, RunnerError, OccupiedError, OSError)  # the run cannot begin now; stores raise OSErrors


@dataclasses.dataclass(frozen=True)
class Target:
    """Where the graph runs, with every flag of Beam's."""

    runner: str
    flags: list[str]
    name: str  # of the job
    remote: RemoteJob | None = None  # the job, where it goes on without this process
    hints: dict[str, str] = dataclasses.field(default_factory=dict)  # Beam's resource hints, for the model's stage

    @property
    def is_direct(self) -> bool:
        return self.runner.lower() in direct.NAMES

    @property
    def is_here(self) -> bool:
        """Whether the workers are on this machine, where the display hears them."""
        return self.remote is None or self.remote.is_here


def find_target(flags: argparse.Namespace, given: list[str], run: str) -> Target:
    """Where the flags want the job to run, when it can be reached and has what the job needs.

    Raises:
        ValueError: the flags contradict each other.
        RunnerError: it cannot run there.
    """
    options = PipelineOptions(given)
    name = options.get_all_options().get("job_name") or f"beam-pipeline-{run}"
    job = presets.Job(name, bool(options.view_as(StandardOptions).streaming))
    remote: RemoteJob | None = None
    hints: dict[str, str] = {}
    if flags.dataflow_gpu and flags.runner.lower() != "dataflowrunner":
        raise ValueError(f"--dataflow_gpu {flags.dataflow_gpu} needs --runner=DataflowRunner")
    try:
        if flags.runner.lower() == "flinkrunner":
            preset, remote = flink.find(job, options)
        elif flags.runner.lower() == "dataflowrunner":
            asked = dataflow.DataflowFlags(
                (*flags.input, flags.output), flags.dataflow_gpu or DEFAULT_GPU, flags.model
            )
            preset, hints, remote = dataflow.find(job, asked, options)
        else:
            preset = presets.direct(job)
    except RemoteError as error:
        raise RunnerError(str(error)) from error
    if flags.no_wait and remote is None:
        raise ValueError(
            "--no_wait needs a place to leave the job to: --runner=DataflowRunner, or --runner=FlinkRunner with "
            "--flink_master=HOST:PORT"
        )
    return Target(flags.runner, presets.merged(preset, given), name, remote, hints)


def check_scratch(target: Target, stores: Stores) -> None:
    """Find a folder that Beam cannot stage a job in; Beam would try for minutes.

    Raises:
        ValueError: with what to do about it.
    """
    place = PipelineOptions(target.flags).view_as(GoogleCloudOptions).temp_location
    if target.remote is None or not place:
        return
    store, probe = stores.serving(place), join(place, "beam-pipeline-was-here")
    try:
        store.put(probe, b"")
        store.delete(probe)
    except OSError as error:
        raise ValueError(f"--temp_location {place} cannot be written: {error}") from error
