"""Kill the main job at random moments, go on each time, and prove that nobody can tell from what it wrote.

    script/chaos [--media 100] [--kills 20] [--seed 1] [--stores local ceph]

One undisturbed run, then one that is killed with SIGKILL again and again, on local disk and on Ceph. Text, times,
languages, status, subtitles and dead letters must be equal; no recording may be decoded or inferred after it was
committed; a run after the last must change nothing. What was done twice, because a kill met it in flight, is counted.
Prints a table and exits with 1 where anything differs. Results stand in chaos.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.many_media import make_media
from benchmarks.noting import SEEN, note_work, work
from tests.runs import Place, contents, files, letters, timeless, transcripts
from tests.s3 import running_ceph

ROOT = pathlib.Path(__file__).parent.parent


def noting_run(words: list[str]) -> int:
    """The main job in this process, which notes each window that it infers and each recording that it commits."""
    note_work()
    from beam_pipeline.__main__ import main

    return main(words)


class Job:
    """Runs of the main job from one input into one output."""

    def __init__(self, media: pathlib.Path, output: Place, seen: pathlib.Path, keys: dict[str, str]) -> None:
        self.output, self.seen = output, seen
        words = ["--input", str(media), "--output", str(output), "--model", "demo", "--translate_to", "en"]
        self._command = [sys.executable, __file__, "run", *words, "--formats", "json", "srt"]
        self._environment = {**os.environ, **keys, SEEN: str(seen), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(self, kill_after_s: float | None = None) -> float:
        """Run it to its end, or kill it; gives the seconds that it took, or 0 where it was killed."""
        started = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(self._command, env=self._environment, stdout=said, stderr=said)
            try:
                code = process.wait(kill_after_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return 0
            said.seek(0)
            assert code in (0, 3), said.read().decode()
        return time.monotonic() - started

    def work(self) -> Counter[str]:
        """How often each window was inferred; raises where a committed recording was inferred again."""
        found = work(self.seen)
        assert not found.after_commit, f"inferred after they were committed: {found.after_commit}"
        return found.inferred


def outcome(output: Place) -> Any:
    """Everything that must not depend on kills."""
    return transcripts(output), letters(output), timeless(files(output))


def published(output: Place) -> Any:
    return {folder: contents(output, folder) for folder in ("media", "transcripts", "segments", "dead_letters")}


def chaos(media: pathlib.Path, base: str, scratch: pathlib.Path, keys: dict[str, str], kills: int) -> dict[str, Any]:
    """The figures of one store."""
    calm, wild = (Job(media, f"{base}/{name}", scratch / name, keys) for name in ("calm", "wild"))
    whole_s = calm.run()
    start_up_s = calm.run()  # with nothing left to do
    killed = 0
    for _ in range(kills):
        killed += wild.run(kill_after_s=random.uniform(0, start_up_s + 2 * (whole_s - start_up_s) / kills)) == 0
    wild.run()
    once, again = calm.work(), wild.work()
    before = published(wild.output)
    wild.run()
    return {
        "kills": killed,
        "media": len(transcripts(wild.output)) + len(letters(wild.output)),
        "windows": len(again),
        "twice": again.total() - len(again),
        "equal": outcome(calm.output) == outcome(wild.output) and set(once) == set(again),
        "stable": published(wild.output) == before,
        "whole_s": round(whole_s, 1),
    }


@contextlib.contextmanager
def place(kind: str, scratch: pathlib.Path) -> Iterator[tuple[str, dict[str, str]]]:
    """An empty place in a store of this kind, and the environment that runs need for it."""
    if kind == "local":
        yield str(scratch / "output"), {}
        return
    (home := scratch / "ceph").mkdir()
    with running_ceph(home) as server:
        yield f"s3://{server.name}@{server.new_bucket()}", server.environment


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--media", type=int, default=100)
    made.add_argument("--kills", type=int, default=20)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--stores", nargs="+", choices=["local", "ceph"], default=["local", "ceph"])
    flags = made.parse_args()
    random.seed(flags.seed)
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        media = pathlib.Path(name, "media")
        make_media(media, flags.media - 2)
        (media / "noise.mp3").write_bytes(random.randbytes(5_000))
        (media / "empty.wav").touch()
        for kind in flags.stores:
            (scratch := pathlib.Path(name, kind)).mkdir()
            with place(kind, scratch) as (base, keys):
                os.environ.update(keys)
                rows[kind] = chaos(media, base, scratch, keys, flags.kills)
                print(kind, json.dumps(rows[kind]), flush=True)
    good = all(row["equal"] and row["stable"] and row["media"] == flags.media for row in rows.values())
    print("equal to an undisturbed run" if good else "NOT EQUAL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(noting_run(sys.argv[2:]) if sys.argv[1:2] == ["run"] else main())
