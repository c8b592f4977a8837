"""Write the small fixed set of windows that the tests hear: `python fixture.py FOLDER`.

`windows.opus` holds all windows one after another, `windows.json` where each begins and what is
said in it: 12 single utterances and 6 filled windows in held-out voices, of held-out sentences, and
6 windows without speech.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from evaluate import Bench, Case
from speech import SAMPLE_RATE_HZ, to_int16

LONGEST_S = 15.0


def choose() -> list[Case]:
    """Return the windows: every 41st utterance, so that languages and voices take turns."""
    bench = Bench()
    singles = bench.singles()[::41][:12]
    return [*singles, *bench.filled(LONGEST_S, 6), *bench.silences(6, LONGEST_S)]


def write(cases: Sequence[Case], folder: Path) -> None:
    """Write the windows as one Opus stream of 32 kbit/s and the truth as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, position = [], 0
    for case in cases:
        spoken = [asdict(one) for one in case.spoken]
        row = {"language": case.language, "voice": case.voice, "spoken": spoken}
        rows.append({"start": position, "length": len(case.samples), **row})
        position += len(case.samples)
    text = json.dumps(rows, ensure_ascii=False, indent=1)
    (folder / "windows.json").write_text(text + "\n")
    samples = to_int16(np.concatenate([case.samples for case in cases]))
    raw = ("-f", "s16le", "-ar", str(SAMPLE_RATE_HZ), "-ac", "1", "-i", "-")
    opus = ("-c:a", "libopus", "-b:a", "32k", "-bitexact", str(folder / "windows.opus"))
    command = ["ffmpeg", "-loglevel", "error", "-y", *raw, *opus]
    subprocess.run(command, input=samples.tobytes(), check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    write(choose(), parser.parse_args().folder)


if __name__ == "__main__":
    main()
