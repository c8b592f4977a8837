"""What each runner is told beside the user's own flags, and why. Pure functions: nothing is asked or started.

The graph is the same on all three, and so are the flags of the product. What differs is how a runner starts its
workers, and how many share a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

CHECKPOINT_MS = 60_000
STREAMED_BUNDLE = 2  # chunks; a checkpoint waits for the bundles that are open


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
            "--environment_type=LOOPBACK",  # workers are threads of this process: one model, one display
            "--parallelism=1",  # decoding runs ahead anyway; more bundles in one process would share one model's lock
        ]
    workers = json.dumps({"url": place.workers, "params": dict(place.versions)})
    return [
        *shared,
        "--environment_type=EXTERNAL",  # the pool beside each TaskManager; Beam's default would be Docker
        f"--environment_config={workers}",
        f"--parallelism={place.free_slots}",  # Flink's own default is one slot, however large the cluster
        "--sdk_worker_parallelism=1",  # one Python process a TaskManager: its slots share one model
        *(_streamed() if job.streaming else ()),
    ]


def _streamed() -> list[str]:
    return [
        f"--checkpointing_interval={CHECKPOINT_MS}",  # off by default: a fault would begin the job anew
        f"--max_bundle_size={STREAMED_BUNDLE}",  # else a checkpoint waits for 1,000 media
        "--shutdown_sources_after_idle_ms=0",  # else a job with checkpoints never ends, for the sake of its sources
    ]


def dataflow(job: Job) -> list[str]:
    """On Google Cloud. Not verified: nothing was ever submitted there."""
    return [
        f"--job_name={job.name}",
        "--experiments=no_use_multiple_sdk_containers",  # one Python process a machine, or each loads a model
        "--number_of_worker_harness_threads=4",  # bundles that share it: one infers while others decode and save
        "--sdk_location=container",  # the image has the package; nothing is staged or installed at start
    ]


def merged(preset: Sequence[str], given: Sequence[str]) -> list[str]:
    """The preset's flags that the user did not give, then the user's own."""
    names = {word.partition("=")[0] for word in given if word.startswith("--")}
    return [*(word for word in preset if word.partition("=")[0] not in names), *given]
