"""Memory, overhead and speed of the main job on 50 and on 2,000 media.

    python benchmarks/many_media.py

Makes media of 3 to 9 s from the samples, runs both numbers, then the larger one again with nothing left to do.
Prints a table; results with their date and hardware stand in many_media.md.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import psutil

from transforms.media.ffmpeg_command import find_ffmpeg

ROOT = pathlib.Path(__file__).parent.parent
SAMPLE = ROOT / "examples" / "media" / "five minutes.opus"
FEW, MANY = 50, 2_000
LOOK_EVERY_S = 0.2


def make_media(folder: pathlib.Path, count: int) -> None:
    """Stretches of the longest sample, each at another place."""
    folder.mkdir()
    for number in range(count):
        start, length = (number * 7.3) % 280, 3 + number % 7
        cut = [find_ffmpeg(), "-v", "error", "-ss", f"{start:.1f}", "-t", str(length), "-i", str(SAMPLE)]
        subprocess.run([*cut, "-c:a", "copy", str(folder / f"{number:05}.opus")], check=True)


def measured_run(folder: str, output: str, *more: str) -> None:
    """Run the job in this process, and print what its CPU time went to."""
    spent = {"model": 0.0, "vad": 0.0}
    adding = threading.Lock()

    def timed(kind: Any, method: str, what: str) -> None:
        work = getattr(kind, method)

        def with_time(*arguments: Any, **settings: Any) -> Any:
            started = time.thread_time()
            try:
                return work(*arguments, **settings)
            finally:
                with adding:
                    spent[what] += time.thread_time() - started

        setattr(kind, method, with_time)

    from transforms.engines.whisper_model import WhisperModel
    from transforms.media.voice_activity import VoiceActivity

    timed(VoiceActivity, "probabilities", "vad")
    timed(WhisperModel, "transcribe", "model")
    started_up = time.process_time()
    from beam_pipeline.__main__ import main

    assert main(["--input", folder, "--output", output, "--model", "demo", *more]) == 0
    used, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    own = used.ru_utime + used.ru_stime - started_up
    print(json.dumps({**spent, "own": own, "ffmpeg": children.ru_utime + children.ru_stime}))


def figures(folder: pathlib.Path, output: pathlib.Path, *more: str) -> dict[str, float]:
    """Figures of one run in a process of its own, with the peak memory of it and its children."""
    command = [sys.executable, __file__, "run", str(folder), str(output), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started, peak = time.monotonic(), 0.0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(LOOK_EVERY_S)
    assert process.stdout is not None
    assert process.returncode == 0
    found = json.loads(process.stdout.read().splitlines()[-1])
    audio_s = json.loads((output / "summary.json").read_text())["audio_sec"]
    cpu_s = found["own"] + found["ffmpeg"]
    overhead = (found["own"] - found["model"] - found["vad"]) / cpu_s
    return {
        "wall_s": time.monotonic() - started,
        "audio_s": audio_s,
        "peak_mb": peak,
        "cpu_s": cpu_s,
        "overhead": overhead,
    }


def memory(pid: int) -> float:
    """MB of a process and its children, shared pages counted by their share."""
    total = 0
    try:
        root = psutil.Process(pid)
        for each in [root, *root.children(recursive=True)]:
            total += each.memory_full_info().pss
    except psutil.Error:
        pass  # one of them ended
    return total / 1e6


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        rows = {}
        for count in (FEW, MANY):
            make_media(root / str(count), count)
            rows[f"{count} media"] = figures(root / str(count), root / f"out{count}")
        rows["nothing left"] = figures(root / str(MANY), root / f"out{MANY}")
    print(f"{'':14} {'wall s':>8} {'audio s':>8} {'CPU s':>8} {'overhead':>9} {'peak MB':>8}")
    for label, row in rows.items():
        print(
            f"{label:14} {row['wall_s']:8.1f} {row['audio_s']:8.0f} {row['cpu_s']:8.1f} "
            f"{row['overhead']:9.1%} {row['peak_mb']:8.0f}"
        )


if __name__ == "__main__":
    measured_run(*sys.argv[2:]) if sys.argv[1:2] == ["run"] else main()
