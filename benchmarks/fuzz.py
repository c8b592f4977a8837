"""Damage media in every way that is cheap, thousands of times, and prove that the main job takes it.

    script/fuzz [--files 2000] [--seed 1] [--slow 1] [--only 1234 --keep FOLDER]

Bits are flipped, files are cut, spliced, beheaded and renamed, numbers in headers become extreme, blocks are doubled,
zeroed or overwritten. For each run of some hundred files: media in == transcripts + dead letters, the exit code is 0
or 3, it ends in bounded time, no code says that something is wrong with this software or with the store, no process
and no temporary file is left, and memory does not grow with the number of media. Prints a table, and exits with 1
where anything of this is not so. A file depends on the seed and its own number alone: `--only` makes one again.
Results stand in fuzz.md.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import psutil

from benchmarks.many_media import memory
from tests.runs import table
from transforms.media.ffmpeg_command import find_ffmpeg

ROOT = pathlib.Path(__file__).parent.parent
SAMPLE = ROOT / "examples" / "media" / "five minutes.opus"
PLACES_S = (4.1, 10.5)  # where speech starts in the sample
LENGTH_S = 2.0
MOST = 1_000  # files in a run
LOOK_EVERY_S = 0.2
# a run that takes longer than this, and this for each file, hangs
START_S, FILE_S = 60, 2.0
DECODE_TIMEOUT_S = 30
# by which memory swings without a leak; peaks alone swing by 150
SLACK_MB = 60
FOUND = {"not_media", "no_audio_track", "no_samples", "decode_failed", "too_long", "empty_file"}  # what damage is
# what onnxruntime and torch leave, once, however many media there are
OF_LIBRARIES = (".ses", "torchinductor_")
EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
PICTURE = ("-f", "lavfi", "-i", f"color=s=32x32:r=5:d={LENGTH_S}")
EXACT = ("-fflags", "+bitexact", "-flags:a", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1")
FORMATS: dict[str, tuple[str, ...]] = {
    "wav": (),
    "mp3": (),
    "flac": (),
    "ogg": ("-c:a", "libvorbis"),
    "opus": (),
    "m4a": (),
    "mp4": ("-movflags", "+faststart"),
    "mkv": ("-c:v", "mpeg4"),
    "webm": ("-c:v", "libvpx"),
    "mov": ("-c:v", "mjpeg", "-c:a", "pcm_s16be"),
    "avi": ("-c:v", "mpeg4"),
    "ts": ("-c:v", "mpeg2video"),
    "3gp": ("-c:v", "h263", "-s", "128x96", "-c:a", "aac"),
    "aac": (),
    "wma": (),
    "caf": (),
    "aiff": (),
}
WITH_PICTURE = {"mp4", "mkv", "webm", "mov", "avi", "ts", "3gp"}

Bases = dict[str, list[bytes]]  # whole files by suffix


def make_bases(folder: pathlib.Path) -> Bases:
    """The same speech in every format, byte for byte the same wherever this ffmpeg runs."""
    bases: Bases = {suffix: [] for suffix in FORMATS}
    for suffix, options in FORMATS.items():
        for place in PLACES_S:
            target = folder / f"base.{suffix}"
            speech = ["-ss", str(place), "-t", str(LENGTH_S), "-i", str(SAMPLE)]
            picture = PICTURE if suffix in WITH_PICTURE else ()
            command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *speech, *picture, *options, *EXACT]
            subprocess.run([*command, str(target)], check=True)
            bases[suffix].append(target.read_bytes())
    return bases


class Dice(random.Random):
    """Chance, and what is drawn from a file."""

    def block(self, data: bytes | bytearray) -> tuple[int, int]:
        """The start and end of a stretch of up to a third of it."""
        start = self.randrange(len(data))
        return start, min(len(data), start + self.randint(1, max(1, len(data) // 3)))


def flip_bits(dice: Dice, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _bit in range(dice.choice((1, 4, 16, 64, 256))):
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def edit_head(dice: Dice, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _byte in range(dice.randint(1, 12)):
        changed[dice.randrange(min(200, len(data)))] = dice.randrange(256)
    return bytes(changed)


def make_extreme(dice: Dice, data: bytes, _: bytes) -> bytes:
    """Put extreme numbers where counts, sizes and times may stand."""
    changed = bytearray(data)
    for _number in range(dice.randint(1, 3)):
        at = dice.randrange(min(2_000, len(data)))
        changed[at : at + 4] = dice.choice(EXTREMES).to_bytes(4, dice.choice(("little", "big")))
    return bytes(changed)


def cut(dice: Dice, data: bytes, _: bytes) -> bytes:
    return data[: dice.randrange(len(data))]


def behead(dice: Dice, data: bytes, _: bytes) -> bytes:
    return data[dice.randrange(1, len(data)) :]


def splice(dice: Dice, data: bytes, other: bytes) -> bytes:
    return data[: dice.randrange(len(data))] + other[dice.randrange(len(other)) :]


def double(dice: Dice, data: bytes, _: bytes) -> bytes:
    start, end = dice.block(data)
    return data[:end] + data[start:]


def zero(dice: Dice, data: bytes, _: bytes) -> bytes:
    start, end = dice.block(data)
    return data[:start] + bytes(end - start) + data[end:]


def overwrite(dice: Dice, data: bytes, _: bytes) -> bytes:
    start, end = dice.block(data)
    return data[:start] + dice.randbytes(end - start) + data[end:]


def leave(_: Dice, data: bytes, __: bytes) -> bytes:
    return data


KINDS: dict[str, Callable[[Dice, bytes, bytes], bytes]] = {
    "bits": flip_bits,
    "head": edit_head,
    "extreme": make_extreme,
    "cut": cut,
    "beheaded": behead,
    "spliced": splice,
    "doubled": double,
    "zeroed": zero,
    "noise": overwrite,
    "renamed": leave,
    "whole": leave,  # to see that the others' ends are their damage's
}


def mutated(number: int, seed: int, bases: Bases) -> tuple[str, bytes]:
    """The name and the content of the file of this number."""
    dice = Dice(f"{seed}/{number}")
    kind, suffix = list(KINDS)[number % len(KINDS)], dice.choice(list(FORMATS))
    data, other = dice.choice(bases[suffix]), dice.choice(bases[dice.choice(list(FORMATS))])
    ending = dice.choice(list(FORMATS)) if kind == "renamed" else suffix
    return f"{number:05}-{kind}.{ending}", KINDS[kind](dice, data, other)


class Ran(NamedTuple):
    """What became of the files of one run."""

    files: int
    outcomes: dict[str, str]  # status, or code of the dead letter, by name
    seconds: float
    memory_mb: list[float]  # every LOOK_EVERY_S, children included
    faults: list[str]  # what must not be

    @property
    def peak_mb(self) -> float:
        return max(self.memory_mb)

    @property
    def growth_mb(self) -> float:
        """From the second quarter of the run, when all is loaded, to the last."""
        quarter = len(self.memory_mb) // 4
        return statistics.median(self.memory_mb[-quarter:]) - statistics.median(self.memory_mb[quarter : 2 * quarter])


def fuzz_run(numbers: range, seed: int, bases: Bases, scratch: pathlib.Path, slow: float = 1) -> Ran:
    """Make these files, run the main job over them, and look at all that it left."""
    media, output, temporary = scratch / "in", scratch / "out", scratch / "tmp"
    for folder in (media, temporary):
        folder.mkdir(parents=True)
    names = set()
    for number in numbers:
        name, content = mutated(number, seed, bases)
        (media / name).write_bytes(content)
        names.add(name)
    code, seconds, memory_mb = watched_run(media, output, temporary, slow)
    faults = leftovers(output, temporary)
    if code not in (0, 3):
        said = (scratch / "said").read_text(errors="replace")[-2_000:]
        return Ran(len(names), {}, seconds, memory_mb, [f"exit code {code}: {said}", *faults])
    outcomes, more = read_outcomes(output, names)
    return Ran(len(names), outcomes, seconds, memory_mb, [*more, *faults])


def watched_run(
    media: pathlib.Path, output: pathlib.Path, temporary: pathlib.Path, slow: float
) -> tuple[int, float, list[float]]:
    """The exit code (-9 where it hung), the seconds and the memory in MB over time of one run of the main job."""
    limit_s = slow * (START_S + FILE_S * len(list(media.iterdir())))
    flags = ["--model", "demo", "--formats", "json", "--decode_timeout_s", str(slow * DECODE_TIMEOUT_S)]
    command = [sys.executable, "-m", "beam_pipeline", "--input", str(media), "--output", str(output), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    started, memory_mb = time.monotonic(), []
    with (output.parent / "said").open("wb") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        while process.poll() is None:
            memory_mb.append(memory(process.pid))
            if time.monotonic() - started > limit_s:
                process.kill()
            time.sleep(LOOK_EVERY_S)
    return process.returncode, time.monotonic() - started, memory_mb


def read_outcomes(output: pathlib.Path, names: set[str]) -> tuple[dict[str, str], list[str]]:
    """What became of each recording, and what is wrong with that."""
    done = {row["id"]: row["status"] for row in table(output, "transcripts")}
    failed = {row["id"]: row for row in table(output, "dead_letters")}
    faults = [f"{name} is both" for name in done.keys() & failed.keys()]
    faults += [f"{name} is lost" for name in names - done.keys() - failed.keys()]
    faults += [f"{name} came from nowhere" for name in (done.keys() | failed.keys()) - names]
    faults += [f"{name}: {row['code']}: {row['detail']}" for name, row in failed.items() if row["code"] not in FOUND]
    outcomes = done | {name: row["code"] for name, row in failed.items()}
    spoilt = [f"{name} is {end}" for name, end in outcomes.items() if "-whole." in name and end != "ok"]
    return outcomes, faults + spoilt


def leftovers(output: pathlib.Path, temporary: pathlib.Path) -> list[str]:
    """Processes and files that are there and should not be."""
    left = [
        f"left in the temporary folder: {path.name}"
        for path in temporary.iterdir()
        if not path.name.startswith(OF_LIBRARIES)
    ]
    left += [f"half-written: {path}" for path in output.rglob(".tmp-*")]
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(temporary):
                left.append(f"still running: {' '.join(process.cmdline())}")
        except psutil.Error:
            continue  # it ended, or is another user's
    return left


def sizes(files: int) -> list[range]:
    """The numbers of the files of each run."""
    return [range(start, min(start + MOST, files)) for start in range(0, files, MOST)]


def grown(runs: list[Ran]) -> list[str]:
    """Runs whose memory grew while they went on."""
    return [
        f"memory grew by {run.growth_mb:.0f} MB over {run.files} files" for run in runs if run.growth_mb > SLACK_MB
    ]


def report(runs: list[Ran]) -> None:
    """Print mutations by kind and outcome, and the figures of each run."""
    ends = [end for run in runs for end in run.outcomes.items()]
    counts = Counter((name.split("-")[1].split(".")[0], end) for name, end in ends)
    columns = sorted({end for _, end in ends}, key=lambda end: (end in FOUND, end))
    print(f"{'':10}" + "".join(f"{column:>15}" for column in columns))
    for kind in KINDS:
        print(f"{kind:10}" + "".join(f"{counts[kind, column]:15}" for column in columns))
    print(f"{'all':10}" + "".join(f"{sum(end == column for _, end in ends):15}" for column in columns))
    print(f"\n{'files':>8} {'seconds':>8} {'peak MB':>8} {'growth':>8}")
    for run in runs:
        print(f"{run.files:8} {run.seconds:8.1f} {run.peak_mb:8.0f} {run.growth_mb:8.0f}")


def write_one(number: int, seed: int, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        name, content = mutated(number, seed, make_bases(pathlib.Path(scratch)))
    (folder / name).write_bytes(content)
    print(folder / name)


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--files", type=int, default=2_000)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--slow", type=float, default=1, help="times that this machine is slower than an idle one")
    made.add_argument("--only", type=int, metavar="NUMBER", help="make this one file again, and run nothing")
    made.add_argument("--keep", type=pathlib.Path, default=pathlib.Path(), help="where it is put")
    flags = made.parse_args()
    if flags.only is not None:
        write_one(flags.only, flags.seed, flags.keep)
        return 0
    runs = []
    with tempfile.TemporaryDirectory() as name:
        bases = make_bases(pathlib.Path(name))
        for each, numbers in enumerate(sizes(flags.files)):
            runs.append(fuzz_run(numbers, flags.seed, bases, pathlib.Path(name, str(each)), flags.slow))
            print(f"run {each + 1}: {runs[-1].files} files in {runs[-1].seconds:.0f} s", flush=True)
            print("".join(f"{fault}\n" for fault in runs[-1].faults), end="", flush=True)
    report(runs)
    faults = [fault for run in runs for fault in run.faults] + grown(runs)
    print("\n".join(grown(runs)) if faults else "no fault")
    print(f"seed {flags.seed}; one file again: script/fuzz --seed {flags.seed} --only NUMBER --keep FOLDER")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
