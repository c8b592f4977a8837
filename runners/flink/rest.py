"""What Flink's REST interface tells of a cluster and its jobs."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import urllib.parse
from typing import Any, NamedTuple

import requests

from runners.flink.parts import FlinkError

ASK_S = 10.0
# in the cluster's configuration: where the pool beside each TaskManager listens
WORKERS = "beam-pipeline.workers"
WORKERS_AT = "localhost:50000"  # where the configuration does not say
ENDED = {"FINISHED", "FAILED", "CANCELED"}


class ClusterFacts(NamedTuple):
    """A cluster as it is at the moment."""

    version: str  # such as "1.19.3"
    slots: int
    free_slots: int
    workers: str  # address of the pool of workers beside each TaskManager
    hosts: tuple[str, ...]  # of the TaskManagers

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


class Job(NamedTuple):
    """A job of a cluster."""

    id: str
    name: str
    # as Flink calls it: CREATED, RUNNING, RESTARTING, FINISHED, FAILED, CANCELED …
    state: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Cluster:
    """The REST interface of a JobManager."""

    def __init__(self, address: str) -> None:
        self.url = address.rstrip("/") if re.match("https?://", address) else f"http://{address.rstrip('/')}"

    @property
    def host(self) -> str:
        return urllib.parse.urlsplit(self.url).hostname or ""

    def facts(self) -> ClusterFacts:
        """What the cluster is.

        Raises:
            FlinkError: nothing that is Flink answers.
        """
        overview, workers = self.ask("overview"), self.ask("taskmanagers")["taskmanagers"]
        settings = {each["key"]: each["value"] for each in self.ask("jobmanager/config")}
        return ClusterFacts(
            overview["flink-version"],
            overview["slots-total"],
            overview["slots-available"],
            settings.get(WORKERS, WORKERS_AT),
            tuple(sorted({match[1] for each in workers if (match := re.search(r"@([^:/]+)", each["path"]))})),
        )

    def job_named(self, name: str) -> Job | None:
        """The newest job of this name, running or ended."""
        found = [each for each in self.ask("jobs/overview")["jobs"] if each["name"] == name]
        newest = max(found, key=lambda each: int(each["start-time"]), default=None)
        return newest and Job(newest["jid"], name, newest["state"])

    def cause(self, job: Job) -> str:
        """Why a job failed, as Flink tells it: a stack trace, or "" where it knows nothing."""
        response = self.ask(f"jobs/{job.id}/exceptions")
        entries = response.get("exceptionHistory", {}).get("entries") or [
            {"stacktrace": response.get("root-exception") or ""}
        ]
        return str(entries[0]["stacktrace"])

    def restarts(self, job: Job) -> int:
        """How often the job was started again after a fault; its metrics would forget that when it has ended."""
        faults = self.ask(f"jobs/{job.id}/exceptions").get("exceptionHistory", {}).get("entries", [])
        return len(faults) - (job.state == "FAILED")

    def records_out(self, job: Job, step: str) -> int:
        """What the operators of a step have given on so far."""
        vertices = self.ask(f"jobs/{job.id}")["vertices"]
        return max((each["metrics"]["write-records"] for each in vertices if step in each["name"]), default=0)

    def cancel(self, job: Job) -> None:
        self._send("PATCH", f"jobs/{job.id}?mode=cancel")

    def ask(self, path: str) -> Any:
        return self._send("GET", path).json()

    def _send(self, method: str, path: str) -> requests.Response:
        try:
            answer = requests.request(method, f"{self.url}/v1/{path}", timeout=ASK_S)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise FlinkError(
                f"no Flink cluster answers at {self.url} ({error.__class__.__name__}): check --flink_master, or "
                "start one here with script/flink-up"
            ) from error
        if "json" not in answer.headers.get("Content-Type", ""):
            raise FlinkError(f"what answers at {self.url} is no Flink cluster")
        return answer


def still_runs(record: dict[str, str]) -> bool:
    """Whether a job that `record` tells how to find has not ended; a cluster that is gone runs nothing."""
    with contextlib.suppress(FlinkError):
        found = Cluster(record["flink"]).job_named(record["name"])
        return found is not None and not found.ended
    return False


def listens(address: str) -> bool:
    """Whether somebody answers at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ASK_S).close()
    except OSError:
        return False
    return True


def is_this_host(host: str) -> bool:
    """Whether the name or address is this machine's."""
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(ipaddress.ip_address(each).is_loopback or _can_bind(str(each)) for each in addresses)


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
