"""How long listing and planning take: 100,000 files on this machine, 10,000 objects in an S3 store on loopback.

    python benchmarks/listing.py

The files are empty of sound; nothing of them is read. `--dry_run` lists, gives names and plans as a run does. The S3
store is moto in a process of its own, which is slower than any real one. Results stand in listing.md.
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

from tests.s3 import S3Server
from tests.servers import free_port, wait_until_answers

LOCAL, OBJECTS = 100_000, 10_000
FOLDERS = 100


def names(count: int) -> list[str]:
    return [f"{number % FOLDERS:03}/clip {number:06}.mp3" for number in range(count)]


def seconds(place: str, output: str, environment: dict[str, str]) -> float:
    """Of a dry run, without the time that one on nothing takes."""
    command = [sys.executable, "-m", "beam_pipeline", "--output", output, "--model", "demo", "--dry_run"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "--input", place], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].endswith(" transcribe"), done.stdout[-200:]
    return time.monotonic() - started


@contextlib.contextmanager
def moto() -> Iterator[S3Server]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_answers(f"http://127.0.0.1:{port}/moto-api/", server)
        yield S3Server("moto", f"http://127.0.0.1:{port}")
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        (root / "one").mkdir()
        (root / "one" / "a.mp3").write_bytes(b"x")
        start_up = seconds(str(root / "one"), str(root / "out"), {})
        for number in range(FOLDERS):
            (root / "many" / f"{number:03}").mkdir(parents=True)
        for each in names(LOCAL):
            (root / "many" / each).write_bytes(b"x")
        local = seconds(str(root / "many"), str(root / "out"), {})
        with moto() as server:
            bucket, client = server.new_bucket(), server.client()
            for each in names(OBJECTS):
                client.put_object(Bucket=bucket, Key=each, Body=b"x")
            on_s3 = seconds(f"s3://moto@{bucket}", str(root / "out"), server.environment)
    print(f"{'start-up':28} {start_up:8.1f} s")
    print(f"{f'{LOCAL:,} files':28} {local:8.1f} s")
    print(f"{f'{OBJECTS:,} objects on S3':28} {on_s3:8.1f} s")


if __name__ == "__main__":
    main()
