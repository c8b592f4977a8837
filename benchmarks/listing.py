"""How long listing and planning take: 100,000 files on this machine, 10,000 objects in an S3 store on loopback.

    python benchmarks/listing.py

The graph runs as far as PlanWork: listing, names, plan, and the rows of the plan are kept. The files have no sound;
nothing of them is read. The S3 store is moto in a process of its own, slower than any real one. Results stand in
listing.md.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipeline.parser import parse
from beam_pipeline.run.job import make_job
from runners.direct import direct_runner
from tests.s3 import S3Server
from tests.servers import free_port, running
from transforms.collect_media import CollectMedia
from transforms.plan_work import PlanWork

LOCAL, OBJECTS = 100_000, 10_000
FOLDERS = 100


def names(count: int) -> list[str]:
    return [f"{number % FOLDERS:03}/clip {number:06}.mp3" for number in range(count)]


def plan_only(place: str, output: str) -> int:
    """Run the first two steps of the job in this process; gives the number of media planned."""
    flags, _ = parse(["--input", place, "--output", output, "--model", "demo"])
    job = make_job(flags)
    beam_options = PipelineOptions([])
    pipeline = beam.Pipeline(runner=direct_runner(beam_options), options=beam_options)
    found = pipeline | "CollectMedia" >> CollectMedia(job.inputs)
    planned = found | "PlanWork" >> PlanWork(job.work, job.plan)
    _ = planned | beam.combiners.Count.Globally() | beam.Map(print)
    pipeline.run().wait_until_finish()
    return len(list(job.work.plan()))


def seconds(place: str, output: str, environment: dict[str, str], count: int) -> float:
    """Of listing and planning, in a process of its own."""
    started = time.monotonic()
    command = [sys.executable, __file__, "plan", place, output]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) == count
    return time.monotonic() - started


@contextlib.contextmanager
def moto() -> Iterator[S3Server]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, f"http://127.0.0.1:{port}/moto-api/", pathlib.Path(os.devnull)):
        yield S3Server("moto", f"http://127.0.0.1:{port}")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "one").mkdir()
        (root / "one" / "a.mp3").write_bytes(b"x")
        start_up = seconds(str(root / "one"), str(root / "out1"), {}, 1)
        for number in range(FOLDERS):
            (root / "many" / f"{number:03}").mkdir(parents=True)
        for each in names(LOCAL):
            (root / "many" / each).write_bytes(b"x")
        local = seconds(str(root / "many"), str(root / "out2"), {}, LOCAL)
        with moto() as server:
            bucket, client = server.new_bucket(), server.client()
            for each in names(OBJECTS):
                client.put_object(Bucket=bucket, Key=each, Body=b"x")
            on_s3 = seconds(f"s3://moto@{bucket}", str(root / "out3"), server.environment, OBJECTS)
    print(f"{'start-up':28} {start_up:8.1f} s")
    print(f"{f'{LOCAL:,} files':28} {local:8.1f} s")
    print(f"{f'{OBJECTS:,} objects on S3':28} {on_s3:8.1f} s")


if __name__ == "__main__":
    print(plan_only(*sys.argv[2:])) if sys.argv[1:2] == ["plan"] else main()
