"""The flags that each runner gets beside the user's own, and why. Pure functions: no requests, no processes.

The graph is the same on all three, and so are the flags of the product. What differs is how a runner starts its
workers, and how many share a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CHECKPOINT_MS = 60_000
STREAMED_BUNDLE = 2  # chunks; a checkpoint waits for the bundles that are open
# Dataflow's own limit is 1,000, and the GPU of each would be paid for
DATAFLOW_WORKERS = 4
# one decodes and saves while the other infers; more would only wait for the model
BUNDLES_A_GPU = 2
# flags that add up; of all others the user's replaces the preset's
REPEATED = ("--experiments", "--labels")


class Job(NamedTuple):
    """What of a job its runner has to know."""

    name: str
    streaming: bool = False  # the user asked for --streaming


class FlinkPlace(NamedTuple):
    """Where Flink runs it: on a cluster, or embedded in the job server on this machine."""

    job_server_jar: str  # "" lets Beam fetch the one for `minor`
    minor: str  # of Flink, such as "1.19"
    master: str = "[local]"
    free_slots: int = 1
    workers: str = ""  # address of the pool of workers beside each TaskManager
    versions: Mapping[str, str] = {}  # of packages here, which workers must have too


class DataflowPlace(NamedTuple):
    """What of Google Cloud a job needs to be told."""

    machine: str  # type of the workers without a GPU
    disk_gb: int
    # gs:// folder for what Dataflow stages; "" where the user gave one
    scratch: str = ""
    labels: Mapping[str, str] = {}


def direct(job: Job) -> list[str]:
    """On this machine, inside this process."""
    return [
        f"--job_name={job.name}",
        # Worker processes log to this terminal: of Beam's own news only what is wrong. Java calls it so, too.
        "--default_sdk_harness_log_level=WARN",
    ]


def flink(job: Job, place: FlinkPlace) -> list[str]:
    """On a Flink cluster, or embedded."""
    jar = [f"--flink_job_server_jar={place.job_server_jar}"] if place.job_server_jar else []
    shared = [f"--job_name={job.name}", f"--flink_master={place.master}", f"--flink_version={place.minor}", *jar]
    if not place.workers:
        return [
            *shared,
            "--default_sdk_harness_log_level=WARN",  # as on the direct runner
            # workers are threads of this process: one model, one display
            "--environment_type=LOOPBACK",
            # decoding runs ahead anyway; more bundles in one process would share one model's lock
            "--parallelism=1",
        ]
    workers = json.dumps({"url": place.workers, "params": dict(place.versions)})
    return [
        *shared,
        # the pool beside each TaskManager; Beam's default would be Docker
        "--environment_type=EXTERNAL",
        f"--environment_config={workers}",
        f"--parallelism={place.free_slots}",  # Flink's own default is one slot, however large the cluster
        # one Python process a TaskManager: its slots share one model
        "--sdk_worker_parallelism=1",
        *(_streamed() if job.streaming else ()),
    ]


def _streamed() -> list[str]:
    return [
        f"--checkpointing_interval={CHECKPOINT_MS}",  # off by default: a fault would begin the job anew
        f"--max_bundle_size={STREAMED_BUNDLE}",  # else a checkpoint waits for 1,000 media
        # else a job with checkpoints never ends, for the sake of its sources
        "--shutdown_sources_after_idle_ms=0",
    ]


def dataflow(job: Job, place: DataflowPlace) -> list[str]:
    """On Google Cloud, by the service's documentation. Not verified: nothing was ever submitted there."""
    return [
        f"--job_name={job.name}",
        *([f"--temp_location={place.scratch}"] if place.scratch else ()),
        f"--machine_type={place.machine}",  # of the workers without a GPU
        f"--max_num_workers={DATAFLOW_WORKERS}",
        # the image with PyTorch and a model would fill Dataflow's 25
        f"--disk_size_gb={place.disk_gb}",
        "--experiments=no_use_multiple_sdk_containers",  # one Python process a machine, or each loads a model
        f"--number_of_worker_harness_threads={2 * BUNDLES_A_GPU}",  # a bundle may wait for its successor's first step
        # the image has the package; nothing is staged or installed at start
        "--sdk_location=container",
        *(f"--labels={name}={value}" for name, value in sorted(place.labels.items())),
    ]


def dataflow_hints(accelerator: str) -> dict[str, str]:
    """Resource hints for the stage that holds the model."""
    return {
        "accelerator": accelerator,
        # Whisper large on its way to the GPU, the windows in flight, and the decoders
        "min_ram": "16GB",
        "max_active_bundles_per_worker": str(BUNDLES_A_GPU),
    }


def merged(preset: Sequence[str], given: Sequence[str]) -> list[str]:
    """The preset's flags that the user did not give, then the user's own."""
    names = {word.partition("=")[0] for word in given if word.startswith("--")}
    kept = [word for word in preset if word.partition("=")[0] not in names - {*REPEATED} and not _denied(word, given)]
    return [*kept, *given]


def _denied(word: str, given: Sequence[str]) -> bool:
    """Whether the user gave the contrary of one of the preset's experiments."""
    return any(f"no_{each.rpartition('=')[2]}" == word.rpartition("=")[2] for each in given)
