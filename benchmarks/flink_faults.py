"""Kill a part of a running Flink job at a time, and prove that nobody can tell from what it wrote.

    script/flink-faults [--media 60] [--only taskmanager worker …]

On a cluster of its own with two TaskManagers, each with a worker process, real ffmpeg and the demo model. One
undisturbed run, then one for each fault. Where the job does not end well by itself, the same command is given again.
Text, times, languages, status, subtitles and dead letters must equal the undisturbed ones. Prints what was killed,
restarts, worker pids, and inferences for each chunk; exits with 1 where anything differs. Results stand in
flink_faults.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psutil

from benchmarks.chaos import outcome
from benchmarks.many_media import make_media
from benchmarks.noting import SEEN, Work, note_work, work
from runners.flink import cluster as flink
from runners.flink import worker, workers
from runners.flink.rest import ENDED, Cluster
from tests.proxy import FaultProxy
from tests.runs import Place, names
from tests.s3 import running_ceph

ROOT = pathlib.Path(__file__).parent.parent
ENDS_S = 600
COMMITTED = 0.25  # share of the media after which the fault comes
AWAY_S = 30.0
DISK_MB = 24


class Bench:
    """A cluster, and what faults can be done to it."""

    def __init__(self, home: pathlib.Path, media: pathlib.Path, slots: int) -> None:
        self.home, self.media, self.slots = flink.Home(home), media, slots
        self.address = ""
        self.seen = home.parent / "seen"

    def up(self, environment: dict[str, str]) -> None:
        """Start what is missing, with workers that note what they do."""
        os.environ.update({**environment, SEEN: str(self.seen), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
        port = int(self.address.rpartition(":")[2] or flink.free_port(8081))
        module = "benchmarks.flink_faults"
        self.address = flink.up(self.home, port, 2, self.slots, "1280m", pool=(module, "pool"))

    def pids(self, what: str) -> list[int]:
        """The processes of a kind."""
        if what in ("jobmanager", "taskmanager-1"):
            return [self.home.processes()[what]]
        pool = psutil.Process(self.home.processes()["workers"])
        below = pool.children(recursive=True)
        return [each.pid for each in below if (what == "ffmpeg") == (each.name() == "ffmpeg")]

    def kill(self, what: str) -> str:
        """Kill -9 one of a kind, as soon as there is one."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if pids := self.pids(what):
                    os.kill(pid := random.choice(pids), signal.SIGKILL)
                    return f"{what} {pid}"
            time.sleep(0.01)
        raise AssertionError(f"no {what} was there to be killed")


class Run:
    """The main job on the cluster, in a process of its own."""

    def __init__(self, bench: Bench, output: Place, environment: dict[str, str] | None = None) -> None:
        self.bench, self.output = bench, output
        words = ["--input", str(bench.media), "--output", str(output), "--model", "demo", "--translate_to", "en"]
        words += ["--formats", "json", "srt", "--runner=FlinkRunner", f"--flink_master={bench.address}"]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the run
        self.process = subprocess.Popen(
            [sys.executable, "-m", "beam_pipeline", *words],
            stdout=self._said,
            stderr=self._said,
            env={**os.environ, **(environment or {})},
        )

    def until_committed(self, chunks: int) -> None:
        """Wait until so many chunks are in their layer."""
        until = time.monotonic() + ENDS_S
        while len(names(self.output, "_work/asr")) < chunks:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.1)

    def end(self) -> int:
        try:
            return self.process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the run did not end:\n{self.said()}") from None

    def said(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def restarts(self) -> int:
        """Of the newest job."""
        cluster = Cluster(self.bench.address)
        jobs = cluster.ask("jobs/overview")["jobs"]
        newest = max(jobs, key=lambda each: each["start-time"], default=None)
        return cluster.restarts(cluster.job_named(newest["name"])) if newest else 0


class Row(NamedTuple):
    """What a fault did."""

    fault: str
    killed: str
    by_itself: bool
    restarts: int
    seconds: float
    equal: bool
    done: Work

    def __str__(self) -> str:
        inferred, times = self.done.inferred, sorted(self.done.chunks.values())
        return (
            f"{self.fault:12} {self.killed or '-':22} {'by itself' if self.by_itself else 'rerun':9} "
            f"{self.restarts:4} restarts {self.seconds:6.0f} s  "
            f"{inferred.total() - len(inferred):5} of {len(inferred):4} twice, "
            f"{len(self.done.after_commit):3} after commit  {'equal' if self.equal else 'DIFFERENT':9} "
            f"pids {' '.join(self.done.workers)}  inferences a chunk {times[0]}-{times[-1]}"
        )


def faulty_run(bench: Bench, fault: str, output: Place, do: Callable[[Run], str], truth: Any) -> Row:
    """One run with one fault in its middle, and another where the first does not come to its end."""
    bench.seen.unlink(missing_ok=True)
    started, run = time.monotonic(), Run(bench, output)
    run.until_committed(round(COMMITTED * len(list(bench.media.iterdir()))))
    killed = do(run)
    code = run.end()
    by_itself = code in (0, 3)
    if not by_itself:
        bench.up({})
        _until_the_cluster_is_free(bench)
        again = Run(bench, output)
        assert again.end() in (0, 3), again.said()
    restarts = run.restarts()
    same = outcome(output) == truth
    return Row(fault, killed, by_itself, restarts, time.monotonic() - started, same, work(bench.seen))


def _until_the_cluster_is_free(bench: Bench) -> None:
    """A job that outlived its submitter ends first, as the message of a second run says."""
    cluster, until = Cluster(bench.address), time.monotonic() + ENDS_S
    while any(each["state"] not in ENDED for each in cluster.ask("jobs/overview")["jobs"]):
        assert time.monotonic() < until
        time.sleep(1)


def kill_and_replace(bench: Bench, what: str) -> str:
    """As whoever watches over a cluster does."""
    killed = bench.kill(what)
    time.sleep(3)
    bench.up({})
    return killed


def kill_submitter(run: Run) -> str:
    """Together with the job server that it started, as when its machine is gone."""
    for each in [*psutil.Process(run.process.pid).children(recursive=True), run.process]:
        each.kill()
    return f"submitter {run.process.pid}"


def fill_disk(disk: pathlib.Path) -> str:
    """Fill the output's disk for a while."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as out:
        while True:
            out.write(bytes(1 << 16))
            out.flush()
    time.sleep(AWAY_S / 2)
    filler.unlink()
    return f"disk of {DISK_MB} MB full"


@contextlib.contextmanager
def small_disk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def store_away(proxy: FaultProxy) -> str:
    """Let nothing through for a while."""
    until = time.monotonic() + AWAY_S
    proxy.choose = lambda *_: "reset" if time.monotonic() < until else ""
    time.sleep(AWAY_S)
    return f"store, for {AWAY_S:.0f} s"


def rows(bench: Bench, root: pathlib.Path, only: list[str]) -> Iterator[Row]:
    """Each fault in turn."""
    calm = Run(bench, root / "calm")
    assert calm.end() in (0, 3), calm.said()
    truth = outcome(root / "calm")
    kills: dict[str, Callable[[Run], str]] = {
        "taskmanager": lambda _: kill_and_replace(bench, "taskmanager-1"),
        "worker": lambda _: bench.kill("worker"),
        "ffmpeg": lambda _: bench.kill("ffmpeg"),
        "jobmanager": lambda _: kill_and_replace(bench, "jobmanager"),
        "submitter": kill_submitter,
    }
    for fault, do in kills.items():
        if fault in only:
            yield faulty_run(bench, fault, root / fault, do, truth)
            bench.up({})
    if "disk" in only:
        with small_disk(root / "disk") as disk:
            yield faulty_run(bench, "disk", disk / "out", lambda _: fill_disk(disk), truth)
    if "store" in only:
        (ceph := root / "ceph").mkdir()
        with running_ceph(ceph) as server, FaultProxy(server.endpoint) as proxy:
            environment = {**server.environment, server.profile.variable("ENDPOINT"): proxy.url}
            bench.home.stop()  # workers get the keys with their environment
            bench.up(environment)
            place = f"s3://{server.name}@{server.new_bucket()}/out"
            yield faulty_run(bench, "store", place, lambda _: store_away(proxy), truth)


FAULTS = ("taskmanager", "worker", "ffmpeg", "jobmanager", "submitter", "disk", "store")


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--media", type=int, default=60)
    made.add_argument("--slots", type=int, default=1, help="of each of the two TaskManagers")
    made.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    flags = made.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        make_media(root / "media", flags.media - 1)
        (root / "media" / "noise.mp3").write_bytes(random.randbytes(5_000))
        bench = Bench(root / "cluster", root / "media", flags.slots)
        try:
            bench.up({})
            for row in rows(bench, root, flags.only):
                print(row, flush=True)
                good = good and row.equal
        finally:
            flink.down(bench.home)
    print("equal to an undisturbed run" if good else "NOT EQUAL")
    return 0 if good else 1


def noting_pool(words: list[str]) -> int:
    """The pool, whose workers note what they do."""
    return workers.main(workers.Pool(("benchmarks.flink_faults", "worker")), words)


def noting_worker(words: list[str]) -> int:
    note_work()
    worker.main(words)
    return 0


if __name__ == "__main__":
    inner = {"pool": noting_pool, "worker": noting_worker}.get((sys.argv[1:] or [""])[0])
    sys.exit(inner(sys.argv[2:]) if inner else main())
