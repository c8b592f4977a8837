"""A real Flink cluster on this machine, with two TaskManagers and a worker process for each."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from runners.flink import cluster, parts
from runners.flink.parts import FlinkError
from tests.conftest import ROOT

# Two workers of one test run would find the same port free, and take one cluster for their own.
FIRST_PORT = 8081 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def need_flink() -> None:
    """Skip the test where Java, or what a cluster is made of, cannot be had."""
    try:
        parts.java()
        parts.flink_home()
        parts.job_server()
    except FlinkError as error:
        pytest.skip(f"NOT TESTED on Flink: {error}")


class FlinkCluster:
    """The cluster, to be used and to be damaged."""

    def __init__(self, home: cluster.Home) -> None:
        self.home, self.address = home, ""

    def up(self) -> None:
        """Start what is missing of it."""
        port = int(self.address.rpartition(":")[2] or cluster.free_port(FIRST_PORT))
        os.environ.setdefault("PYTHONPATH", str(ROOT))
        self.address = cluster.up(self.home, port, taskmanagers=2, slots=1, memory="1280m")

    def kill(self, name: str) -> None:
        """Kill a process of it, and wait until it is gone: `up` would take it for one that runs."""
        os.kill(self.home.processes()[name], signal.SIGKILL)
        while name in self.home.processes():
            time.sleep(0.05)

    @property
    def flags(self) -> list[str]:
        return ["--runner=FlinkRunner", f"--flink_master={self.address}"]


@pytest.fixture(scope="module")
def flink_cluster(tmp_path_factory) -> Iterator[FlinkCluster]:
    need_flink()
    logging.getLogger("runners").setLevel(logging.WARNING)
    home = cluster.Home(tmp_path_factory.mktemp("flink") / "home")
    started = FlinkCluster(home)
    try:
        started.up()
        yield started
    finally:
        pids = home.processes().values()
        cluster.down(home)
    assert not home.path.exists()
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


def prism() -> str | None:
    """Beam's Prism runner, from $PATH or from where `go install` puts it."""
    places = [os.environ.get("PATH", ""), os.path.expanduser("~/go/bin")]  # noqa: PTH111 - a search path
    return shutil.which("prism", path=os.pathsep.join(places))
