"""A Flink cluster on this machine, without Docker: `python -m runners.flink.cluster up`, and `down`.

`up` starts a JobManager, TaskManagers and the pool of Python workers, waits until they are ready, and prints
HOST:PORT last. Run again, it starts what is missing. `down` ends them all and removes what they wrote; what was
fetched stays in the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil
import yaml

from runners.flink import parts
from runners.flink.parts import FlinkError
from runners.flink.rest import WORKERS, Cluster, listens

HOST = "127.0.0.1"
READY_S = 120.0
STOP_S = 10.0
OPENED = (  # Flink reflects on these; Java 17 refuses that by itself
    "java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text", "java.time",
    "java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks",
)  # fmt: skip
JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
POOL = ("runners.flink.workers",)
TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"


def settings(home: pathlib.Path, port: int, rpc: int, workers: int, slots: int, memory: str) -> dict[str, Any]:
    """Flink's configuration, each entry that is not a mere address with its reason."""
    return {
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": rpc,
        "jobmanager.bind-host": HOST,
        "jobmanager.memory.process.size": "1024m",
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "taskmanager.numberOfTaskSlots": slots,
        # Java only passes small records on; audio and models live in the Python workers, outside of this.
        "taskmanager.memory.process.size": memory,
        "rest.address": HOST,
        "rest.bind-address": HOST,
        "rest.port": port,
        "blob.storage.directory": str(home / "tmp"),
        "io.tmp.dirs": str(home / "tmp"),
        "web.upload.dir": str(home / "tmp"),
        "env.java.opts.all": " ".join(f"--add-opens=java.base/{each}=ALL-UNNAMED" for each in OPENED),
        # A TaskManager that is gone is noticed in 10 s instead of 50; the same everywhere, or jobs fail.
        "heartbeat.interval": 2000,
        "heartbeat.timeout": 10000,
        # Without a strategy, a batch job ends at its first fault. What is committed is not done again.
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 10,
        "restart-strategy.fixed-delay.delay": "2 s",
        "metrics.reporters": "prom",
        "metrics.reporter.prom.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
        "metrics.reporter.prom.port": "9249-9279",
        WORKERS: f"{HOST}:{workers}",  # how a job finds the Python workers
    }


class Home:
    """The folder of one cluster: its configuration, logs, and which processes it has."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._record = path / "processes.json"

    def processes(self) -> dict[str, int]:
        """The pids of those that still run, by name: jobmanager, workers, taskmanager-1 …"""
        if not self._record.exists():
            return {}
        known = json.loads(self._record.read_text())
        return {name: pid for name, (pid, born) in known.items() if _runs(pid, born)}

    def start(self, name: str, command: list[str], **environment: str) -> None:
        with (self.path / f"{name}.log").open("ab") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C behind `up` is not for the cluster
                env={**os.environ, **environment},
            )
        running = {each: (pid, _born_s(pid)) for each, pid in self.processes().items()}
        running[name] = (process.pid, _born_s(process.pid))
        self._record.write_text(json.dumps(running))

    def stop(self) -> None:
        """End all processes: politely, then not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes().values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            until = time.monotonic() + STOP_S
            while self.processes() and time.monotonic() < until:
                time.sleep(0.1)

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        lines = (self.path / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-8:])


def up(
    home: Home,
    port: int,
    taskmanagers: int,
    slots: int,
    memory: str,
    pool: Sequence[str] = POOL,
) -> str:
    """Start what is missing of the cluster and return its HOST:PORT when all of it is ready.

    `pool` is the module that serves as pool of workers, with its arguments.

    Raises:
        FlinkError: it cannot be started; the message says why.
    """
    flink, java = parts.flink_home(), parts.java()
    plugins = {"FLINK_PLUGINS_DIR": str(flink / "plugins")}  # the reporter is one; Flink asks no property for them
    home.path.mkdir(parents=True, exist_ok=True)
    (home.path / "tmp").mkdir(exist_ok=True)
    config = home.path / "config.yaml"
    running = home.processes()
    if "jobmanager" not in running:
        home.stop()  # TaskManagers without their JobManager
        running = {}
        _check_free(port)
        config.write_text(yaml.safe_dump(settings(home.path, port, free_port(6123), free_port(50000), slots, memory)))
    found = yaml.safe_load(config.read_text())
    if found["rest.port"] != port:
        raise FlinkError(f"a cluster with port {found['rest.port']} runs already in {home.path}: take it down first")
    if "workers" not in running:
        workers = found[WORKERS].rpartition(":")[2]
        home.start("workers", [sys.executable, "-m", *pool, "--host", HOST, "--port", workers])
    if "jobmanager" not in running:
        home.start("jobmanager", _command(java, flink, home, "JM", JOB_MANAGER), **plugins)
    missing = {f"taskmanager-{number}" for number in range(1, taskmanagers + 1)} - set(running)
    command = _command(java, flink, home, "TM", TASK_MANAGER) if missing else []
    for name in sorted(missing):
        home.start(name, [*command, "-D", f"taskmanager.resource-id={name}-{time.time_ns()}"], **plugins)
    _wait_until_ready(home, Cluster(f"{HOST}:{port}"), found[WORKERS], taskmanagers)
    return f"{HOST}:{port}"


def down(home: Home) -> None:
    """End the cluster and remove its folder."""
    home.stop()
    shutil.rmtree(home.path, ignore_errors=True)


def _command(java: str, flink: pathlib.Path, home: Home, which: str, main: str) -> list[str]:
    """The command line of a JobManager ("JM") or a TaskManager ("TM")."""
    flags, shares = _resources(java, flink, home, which)
    opened = yaml.safe_load((home.path / "config.yaml").read_text())["env.java.opts.all"].split()
    logs = home.path / "log4j.properties"
    logs.write_text(LOG4J)
    classes = ":".join(map(str, sorted((flink / "lib").glob("*.jar"))))
    logging_flag = f"-Dlog4j.configurationFile={logs}"
    return [java, *flags, *opened, logging_flag, "-cp", classes, main, "--configDir", str(home.path), *shares]


def _resources(java: str, flink: pathlib.Path, home: Home, which: str) -> tuple[list[str], list[str]]:
    """Java's flags and Flink's own ones that share out the memory, as Flink's scripts ask its own calculator."""
    calculator = [
        java,
        "-cp",
        f"{flink}/bin/bash-java-utils.jar:{flink}/lib/flink-dist-{parts.version('flink.release')}.jar",
    ]
    main, ask = "org.apache.flink.runtime.util.bash.BashJavaUtils", f"GET_{which}_RESOURCE_PARAMS"
    done = subprocess.run(
        [*calculator, main, ask, "--configDir", str(home.path)], capture_output=True, text=True, check=True
    )
    mark = "BASH_JAVA_UTILS_EXEC_RESULT:"
    reported = [line.removeprefix(mark) for line in done.stdout.splitlines() if line.startswith(mark)]
    return reported[0].split(), reported[1].split() if len(reported) > 1 else []


LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = Out
appender.out.name = Out
appender.out.type = CONSOLE
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss} %-5p %c{1} %m%n
"""


def _wait_until_ready(home: Home, cluster: Cluster, workers: str, taskmanagers: int) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        for name in ("jobmanager", "workers", *(f"taskmanager-{number}" for number in range(1, taskmanagers + 1))):
            if name not in home.processes():
                raise FlinkError(f"{name} ended while it started:\n{home.last_words(name)}")
        with contextlib.suppress(FlinkError):
            if len(cluster.ask("taskmanagers")["taskmanagers"]) >= taskmanagers and listens(workers):
                return
        time.sleep(0.5)
    raise FlinkError(f"not ready after {READY_S:.0f} s: see the logs in {home.path}")


def _check_free(port: int) -> None:
    if listens(f"{HOST}:{port}"):
        raise FlinkError(f"port {port} is taken: free it, or give another one with --port")


def free_port(first: int) -> int:
    """A free port from the first one on."""
    return next(port for port in range(first, first + 1000) if not listens(f"{HOST}:{port}"))


def _born_s(pid: int) -> float | None:
    """Seconds between the start of the machine and of the process; None where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return round(process.create_time() - psutil.boot_time(), 2)
    return None


def _runs(pid: int, born_s: float | None) -> bool:
    """Whether the process is still there, and no other of the same number; the clock is read to the second."""
    now_s = _born_s(pid)
    return now_s is not None and born_s is not None and abs(now_s - born_s) <= 2


def main() -> int:
    words = argparse.ArgumentParser(prog="flink", description="A Flink cluster on this machine.")
    words.add_argument("what", choices=["up", "down", "fetch"], help="fetch: get what a cluster needs, only")
    words.add_argument("--port", type=int, default=8081, help="of the JobManager, where jobs are submitted")
    words.add_argument("--taskmanagers", type=int, default=1, help="each gets Python workers of its own")
    words.add_argument("--slots", type=int, default=2, help="bundles at once in each TaskManager")
    words.add_argument("--memory", default="1280m", help="of each TaskManager's Java, without the Python workers")
    words.add_argument("--home", type=pathlib.Path, help="folder of this cluster; one in ~/.cache if not given")
    given = words.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    home = None
    try:
        home = Home(given.home or parts.cache() / "cluster")
        if given.what == "down":
            down(home)
            return 0
        parts.java()
        print(parts.flink_home(), parts.job_server(), sep="\n")  # now, rather than when the first job is submitted
        if given.what == "up":
            print(up(home, given.port, given.taskmanagers, given.slots, given.memory))
    except FlinkError as error:
        print(f"error: {error}", file=sys.stderr)
        if home and given.what == "up" and "ended while it started" in str(error):
            home.stop()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
