"""How long a command takes to answer, and how much memory: `python benchmarks/startup.py`.

Each is a process of its own, run five times on a warm disk cache; the best is shown, since all else is the machine's.
The last row is a run of one recording of 13 s, from the command to the first transcript under `media/`.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "examples" / "media" / "village.opus"
TIMES = 5
RUN = ["beam_pipeline", "--model", "demo", "--input"]


def measured(words: Sequence[str], first_file: pathlib.Path | None = None) -> tuple[float, float]:
    """Seconds until the command has ended, or until the file is there, and MB that it held at most."""
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = time.monotonic()
    while first_file and not first_file.exists():
        time.sleep(0.01)
    appeared_s = time.monotonic() - started
    _, _, usage = os.wait4(process.pid, 0)
    return appeared_s if first_file else time.monotonic() - started, usage.ru_maxrss / 1000


def main() -> None:
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        measured([*RUN, str(SAMPLE), "--output", "out"])
        rows: dict[str, Sequence[str]] = {
            "--help": ["beam_pipeline", "--help"],
            "a flag that nobody knows": [*RUN, "a.mp3", "--output", "out", "--modle", "x"],
            "an input that is not there": [*RUN, "a.mp3", "--output", "out"],
            "status": ["beam_pipeline.status", "--output", "out"],
            "failures": ["beam_pipeline.failures", "--output", "out"],
            "--dry_run": [*RUN, str(SAMPLE), "--output", "out", "--dry_run"],
        }
        for name, words in rows.items():
            print_row(name, min(measured(words) for _ in range(TIMES)))
        outputs = [pathlib.Path(f"out-{number}") for number in range(TIMES)]
        runs = [
            measured([*RUN, str(SAMPLE), "--output", str(out)], out / "media" / "village.json") for out in outputs
        ]
        print_row("a run, to its first transcript", min(runs))


def print_row(name: str, figures: tuple[float, float]) -> None:
    print(f"{name:32} {figures[0]:5.2f} s  {figures[1]:5.0f} MB", flush=True)


if __name__ == "__main__":
    main()
