"""Time the main job on the sample media, and decoding with voice activity detection alone.

    python benchmarks/main_job.py

Prints a table; results with their date and hardware stand in main_job.md beside this file. Run it on a machine that
does nothing else.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from transforms.decode_audio import DecodeConfig, decode
from transforms.inputs.listing import list_input
from transforms.records import MediaChunk, MediaFile
from transforms.storage import Stores

SAMPLES = pathlib.Path(__file__).parent.parent / "examples" / "media"


def main_job(output: pathlib.Path) -> dict[str, float]:
    """Figures of one process that runs the whole job: a first run, or one with nothing left to do."""
    command = [sys.executable, "-m", "beam_pipeline", "--input", str(SAMPLES), "--output", str(output)]
    started = time.monotonic()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--model", "demo", "--translate_to", "en"], **quiet)
    _, status, usage = os.wait4(process.pid, 0)  # this process's own usage
    assert status == 0, "the run failed: run the same command by hand"
    wall_s, peak = time.monotonic() - started, usage.ru_maxrss / 1024
    audio_s = json.loads((output / "summary.json").read_text())["audio_sec"]
    return {"wall_s": wall_s, "times_real_time": audio_s / wall_s, "peak_mb": peak}


def decoding() -> dict[str, float]:
    """Figures of ffmpeg, voice activity detection and cutting on the longest sample, in this process."""
    path = SAMPLES / "five minutes.opus"
    [listed] = list_input(str(path), Stores())
    assert isinstance(listed, MediaFile)
    chunk = MediaChunk(listed)
    list(decode(chunk, DecodeConfig()))  # loads the model
    started = time.monotonic()
    *_, last = decode(chunk, DecodeConfig())
    wall_s = time.monotonic() - started
    assert last.audio is not None
    return {"wall_s": wall_s, "times_real_time": last.audio.duration_s / wall_s, "peak_mb": 0}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder, "out")
        rows = {"main job": main_job(output), "nothing left to do": main_job(output), "decoding alone": decoding()}
    print(f"{'':20} {'wall s':>8} {'x real time':>12} {'peak MB':>8}")
    for name, row in rows.items():
        print(f"{name:20} {row['wall_s']:8.1f} {row['times_real_time']:12.1f} {row['peak_mb']:8.0f}")


if __name__ == "__main__":
    main()
