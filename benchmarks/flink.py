"""Flink against the direct runner, one TaskManager against two, and what a job on a cluster costs before it works.

    python benchmarks/flink.py [--only direct clusters long clips streaming]

On a cluster of its own on this machine. Times count from the first chunk that is committed to the last media that is
saved, so start-up is not in them; it stands beside. Results with their date and hardware stand in flink.md.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil

from benchmarks.long_media import Sleeper
from benchmarks.many_media import SAMPLE, make_media
from benchmarks.noting import SEEN
from runners.flink import cluster as flink
from transforms.media.ffmpeg_command import find_ffmpeg

ROOT = pathlib.Path(__file__).parent.parent
MEDIA, CLIPS, LONG_S = 200, 1_000, 3 * 3600
# seconds that the stand-in takes for a second of audio: long beside decoding on one core
SLEEP = 0.06
LOOK_EVERY_S = 0.5


class Took(NamedTuple):
    """One run, from its files' times."""

    wall_s: float
    start_s: float  # until the first chunk was committed
    first_s: float  # until the first media was saved
    work_s: float  # from the first commit to the last save

    def __str__(self) -> str:
        return (
            f"work {self.work_s:6.1f} s  wall {self.wall_s:6.1f} s  first commit {self.start_s:5.1f} s  "
            f"first media {self.first_s:5.1f} s"
        )


def job(words: list[str], asleep: float | None = None) -> int:
    """The main job in this process, with the demo model, or one that sleeps."""
    from beam_pipeline.parser import parse
    from beam_pipeline.run import launch
    from beam_pipeline.run.job import make_job
    from beam_pipeline.run.target import find_target

    flags, given = parse([*words, "--model", "demo", "--formats", "json", "--log_level", "ERROR"])
    made = make_job(flags)
    if asleep:
        made = dataclasses.replace(made, handler=Sleeper(asleep))
    return launch.run(made, flags, find_target(flags, given, made.work.run), words).code


def timed(media: pathlib.Path, output: pathlib.Path, *more: str, asleep: float = 0.0) -> Took:
    """Run the job in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.flink", "job", str(asleep), "--input", str(media), "--output"]
    started = time.time()
    done = subprocess.run([*command, str(output), *more], cwd=ROOT, capture_output=True, text=True, check=False)
    wall_s = time.time() - started
    assert done.returncode == 0, done.stderr
    commits, saves = (sorted(times(output / "_work" / layer)) for layer in ("asr", "saved"))
    return Took(wall_s, commits[0] - started, saves[0] - started, saves[-1] - commits[0])


def times(folder: pathlib.Path) -> Iterator[float]:
    return (path.stat().st_mtime for path in folder.rglob("*.json"))


class Bench:
    """A cluster whose workers note what they do."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home, self.port, self.seen = flink.Home(home), flink.free_port(8081), home.parent / "seen"
        os.environ.update({SEEN: str(self.seen), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})

    def up(self, taskmanagers: int) -> list[str]:
        """The flags that reach the cluster, with so many TaskManagers of one slot."""
        flink.down(self.home)
        self.seen.unlink(missing_ok=True)
        address = flink.up(self.home, self.port, taskmanagers, 1, "1280m", ("benchmarks.flink_faults", "pool"))
        return ["--runner=FlinkRunner", f"--flink_master={address}"]

    @contextlib.contextmanager
    def watched(self) -> Iterator[dict[str, float]]:
        """The peak memory in MB of each process of the cluster while the block runs, shared pages by their share."""
        peaks: dict[str, float] = {}
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(LOOK_EVERY_S):
                for name, pid in self.home.processes().items():
                    with contextlib.suppress(psutil.Error):
                        pool = psutil.Process(pid)
                        for each, of in [(name, pool), *((f"worker of {name}", child) for child in pool.children())]:
                            peaks[each] = max(peaks.get(each, 0), of.memory_full_info().pss / 1e6)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield peaks
        finally:
            stop.set()
            thread.join()


def against_direct(bench: Bench, root: pathlib.Path, media: pathlib.Path) -> None:
    """The same media, model and number of processes."""
    direct = timed(media, root / "direct")
    print(f"direct runner      {direct}", flush=True)
    flags = bench.up(1)
    with bench.watched() as peaks:
        there = timed(media, root / "flink", *flags)
    print(f"Flink, 1 worker    {there}  {there.work_s / direct.work_s:.2f} x the direct runner", flush=True)
    print(
        "memory             " + ", ".join(f"{name} {peak:.0f} MB" for name, peak in sorted(peaks.items())), flush=True
    )
    embedded = timed(media, root / "embedded", "--runner=FlinkRunner")
    print(f"embedded Flink     {embedded}  {embedded.work_s / direct.work_s:.2f} x the direct runner", flush=True)


def clusters(bench: Bench, root: pathlib.Path, media: pathlib.Path) -> None:
    """One TaskManager and two, with a model that sleeps."""
    alone = timed(media, root / "one", *bench.up(1), asleep=SLEEP)
    print(f"1 TaskManager      {alone}", flush=True)
    both = timed(media, root / "two", *bench.up(2), asleep=SLEEP)
    print(f"2 TaskManagers     {both}  {alone.work_s / both.work_s:.2f} x as fast", flush=True)


def streaming(bench: Bench, root: pathlib.Path, media: pathlib.Path) -> None:
    """Batch and streaming with checkpoints."""
    for name, more in (("batch", []), ("streaming", ["--streaming"])):
        took = timed(media, root / name, *bench.up(2), *more, asleep=SLEEP)
        print(f"{name:18} {took}", flush=True)


def long(bench: Bench, root: pathlib.Path, _: pathlib.Path) -> None:
    """Three hours on two TaskManagers: who does which chunks."""
    (folder := root / "three hours").mkdir()
    loop = ["-stream_loop", "-1", "-i", str(SAMPLE), "-t", str(LONG_S), "-ac", "1", "-ar", "16000"]
    subprocess.run([find_ffmpeg(), "-v", "error", *loop, str(folder / "long.wav")], check=True)
    for managers in (1, 2):
        took = timed(folder, root / f"long{managers}", *bench.up(managers), asleep=SLEEP / 4)
        print(f"3 h, {managers} TaskManager  {took}  chunks by worker {chunks_by_worker(bench.seen)}", flush=True)


def chunks_by_worker(seen: pathlib.Path) -> list[int]:
    """How many chunks each worker committed."""
    found = Counter(line.split()[4] for line in seen.read_text().splitlines() if line.startswith("commit"))
    return sorted(found.values())


def clips(bench: Bench, root: pathlib.Path, _: pathlib.Path) -> None:
    """A thousand clips of five seconds, whose model takes no time: what is left is overhead."""
    (folder := root / "clips").mkdir()
    for number in range(CLIPS):
        cut = ["-ss", str(number % 290), "-t", "5", "-i", str(SAMPLE), "-c:a", "copy"]
        subprocess.run([find_ffmpeg(), "-v", "error", *cut, str(folder / f"{number:04}.opus")], check=True)
    for name, flags in (("direct runner", []), ("Flink, 2 workers", bench.up(2))):
        took = timed(folder, root / f"clips {name}", *flags, asleep=1e-9)
        print(f"{CLIPS} clips, {name:16} {took}  {1000 * took.work_s / CLIPS:.0f} ms a clip", flush=True)


PARTS: dict[str, Any] = {
    "direct": against_direct,
    "clusters": clusters,
    "streaming": streaming,
    "long": long,
    "clips": clips,
}


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--media", type=int, default=MEDIA)
    made.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = made.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        make_media(root / "media", given.media)
        bench = Bench(root / "cluster")
        try:
            for part in given.only:
                PARTS[part](bench, root, root / "media")
        finally:
            flink.down(bench.home)


if __name__ == "__main__":
    if sys.argv[1:2] == ["job"]:
        sys.exit(job(sys.argv[3:], float(sys.argv[2])))
    main()
