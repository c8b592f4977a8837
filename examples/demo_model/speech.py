"""Make the speech of the demo model: espeak-ng says the sentences, in many voices.

    python speech.py training   # 24,000 utterances, voices and sentences that training may hear
    python speech.py held-out   # 500 utterances in the held-out voices, of held-out sentences

Each command writes `NAME.npy` (all samples, int16, 16,000 Hz) and `NAME.json` (one `Utterance` a
row) under `work/`. The result depends on the seed and on the version of espeak-ng only.
"""

import argparse
import dataclasses
import io
import json
import multiprocessing
import random
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentences

Samples = npt.NDArray[np.float32]

WORK = Path(__file__).parent / "work"
ESPEAK_DATA = Path("/usr/lib/x86_64-linux-gnu/espeak-ng-data")
SAMPLE_RATE_HZ = 16_000
ESPEAK_RATE_HZ = 22_050
WAVE_HEADER_BYTES = 44
"""espeak-ng's header; its length of the data is wrong when it writes to a pipe."""
SILENCE_BELOW_PEAK = 0.01
BATCH = 250

HELD_OUT_VOICES = (
    "Andrea", "Gene2", "Mike", "anika", "caleb", "f3", "iven2", "klatt4", "m5", "robosoft2",
    "Mr serious", "norbert", "whisperf",
)  # fmt: skip
LANGUAGE_VOICES = {"hi": ("hi",), "en": ("en-us", "en-gb")}
MADE_PREFIX = "made"
MADE_VOICES = 150
MADE_VOICE_SHARE = 0.4
CODECS = (
    ("mp3", ("-c:a", "libmp3lame", "-b:a", "32k")),
    ("mp3", ("-c:a", "libmp3lame", "-b:a", "64k")),
    ("ogg", ("-c:a", "libopus", "-b:a", "16k")),
    ("ogg", ("-c:a", "libopus", "-b:a", "32k")),
    ("wav", ("-ar", "8000", "-c:a", "pcm_mulaw")),
)
CODEC_SHARE, ROOM_SHARE, CLIPPING_SHARE = 0.3, 0.2, 0.06


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence inside the file of all samples."""

    language: str
    text: str
    translation: str
    voice: str
    start: int
    """First sample in the file."""
    length: int
    """Samples, the room's tail included."""
    spoken: int
    """Samples from the first sound to the last, without the tail."""


@dataclass(frozen=True)
class Order:
    """What espeak-ng is asked to say."""

    language: str
    pair: sentences.Pair
    variant: str
    base: str
    words_per_minute: int
    pitch: int

    @property
    def text(self) -> str:
        return self.pair.hindi if self.language == "hi" else self.pair.english


def heard_variants() -> list[str]:
    """Return the names of espeak-ng's variants that training may hear."""
    names = sorted(path.name for path in (ESPEAK_DATA / "voices" / "!v").iterdir())
    return [name for name in names if name not in HELD_OUT_VOICES]


def write_made_voices(folder: Path, rng: random.Random) -> list[str]:
    """Write a data folder for espeak-ng with extra variants of random formants; return their names.

    espeak-ng's own variants differ in a few ways only. Throats that are longer, shorter, breathier
    and rougher at random teach the model more than another copy of those.
    """
    data = folder / "espeak-ng-data"
    voices = data / "voices" / "!v"
    shutil.copytree(ESPEAK_DATA, data, ignore=_other_variants, dirs_exist_ok=True)
    names = [f"{MADE_PREFIX}{number:03d}" for number in range(MADE_VOICES)]
    for name in names:
        (voices / name).write_text(_made_voice(name, rng))
    return names


def _other_variants(folder: str, names: list[str]) -> list[str]:
    """Say which names not to copy: other voices, since espeak-ng reads 350 at most."""
    return names if folder.endswith(("!v", "mb")) else []


def _made_voice(name: str, rng: random.Random) -> str:
    """Return the text of one variant file: formants, pitch, roughness, sometimes breath."""
    throat = rng.uniform(0.85, 1.2)
    low_pitch = rng.randint(60, 190)
    lines = [
        "language variant",
        f"name {name}",
        f"pitch {low_pitch} {low_pitch + rng.randint(5, 70)}",
    ]
    for formant in range(9):
        spread = rng.uniform(0.8, 1.15) if formant in (1, 2, 3) else rng.uniform(0.92, 1.08)
        frequency = round(100 * min(1.3, max(0.7, throat * spread)))
        lines.append(f"formant {formant} {frequency} {rng.randint(60, 130)} {rng.randint(70, 170)}")
    lines.append(f"roughness {rng.randint(0, 5)}")
    lines.append(f"flutter {rng.randint(0, 8)}")
    if rng.random() < 0.25:
        lines.append(f"voicing {rng.randint(10, 70)}")
        lines.append("breath " + " ".join(str(rng.randint(10, 90)) for _ in range(6)))
        lines.append("breathw " + " ".join(str(rng.randint(100, 400)) for _ in range(6)))
    return "\n".join(lines) + "\n"


def say(order: Order, data: Path) -> Samples:
    """Return the order as float32[n_samples] in −1…1, 16,000 Hz, silence trimmed at both ends."""
    made = order.variant.startswith(MADE_PREFIX)
    command = [
        "espeak-ng", f"--path={data if made else ESPEAK_DATA}",
        "-v", f"{order.base}+{order.variant}", "-s", str(order.words_per_minute),
        "-p", str(order.pitch), "--stdout", order.text,
    ]  # fmt: skip
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        pcm = np.frombuffer(spoken[WAVE_HEADER_BYTES:], np.int16)
        if file.getframerate() != ESPEAK_RATE_HZ:
            raise ValueError(f"espeak-ng spoke at {file.getframerate()} Hz, not {ESPEAK_RATE_HZ}")
    samples = pcm.astype(np.float32) / 32_768
    return trim(_resample(samples, len(samples) * SAMPLE_RATE_HZ // ESPEAK_RATE_HZ))


def trim(samples: Samples) -> Samples:
    """Return the samples from the first to the last that is not silence."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE_BELOW_PEAK * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def _resample(samples: Samples, length: int) -> Samples:
    """Return float32[length]: the same sound at another rate, band-limited by Fourier."""
    spectrum = np.fft.rfft(samples)[: length // 2 + 1]
    return (np.fft.irfft(spectrum, length) * (length / len(samples))).astype(np.float32)


def add_room(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return the samples as a small room answers them: an exponential tail, up to 0.3 s longer."""
    tail = int(0.3 * SAMPLE_RATE_HZ)
    decay_s = rng.uniform(0.03, 0.12)
    answer = rng.standard_normal(tail) * np.exp(-np.arange(tail) / (decay_s * SAMPLE_RATE_HZ))
    answer *= rng.uniform(0.2, 0.8) / np.linalg.norm(answer)
    answer[0] += 1
    length = len(samples) + tail
    room = np.fft.irfft(np.fft.rfft(samples, length) * np.fft.rfft(answer, length), length)
    return (room / max(1.0, np.abs(room).max())).astype(np.float32)


def through_codec(samples: Samples, suffix: str, options: tuple[str, ...]) -> Samples:
    """Return the samples after encoding and decoding by ffmpeg, the same length."""
    with tempfile.TemporaryDirectory() as folder:
        encoded = f"{folder}/encoded.{suffix}"
        raw = ("-f", "s16le", "-ar", str(SAMPLE_RATE_HZ), "-ac", "1")
        quiet = ("ffmpeg", "-loglevel", "error", "-y")
        pcm = to_int16(samples).tobytes()
        subprocess.run([*quiet, *raw, "-i", "-", *options, encoded], input=pcm, check=True)
        back = subprocess.run([*quiet, "-i", encoded, *raw, "-"], capture_output=True, check=True)
    decoded = np.frombuffer(back.stdout, np.int16).astype(np.float32) / 32_768
    return np.resize(np.pad(decoded, (0, max(0, len(samples) - len(decoded)))), len(samples))


def to_int16(samples: Samples) -> npt.NDArray[np.int16]:
    """Return int16 samples, clipped."""
    return (np.clip(samples, -1, 1) * 32_767).astype(np.int16)


@dataclass(frozen=True)
class Batch:
    """A part of the work for one process."""

    seed: int
    orders: tuple[Order, ...]
    data: Path
    with_damage: bool


def make_batch(batch: Batch) -> list[tuple[Utterance, npt.NDArray[np.int16]]]:
    """Say all orders of a batch; damage some by room, clipping and one codec for the batch."""
    rng = np.random.default_rng(batch.seed)
    spoken, heard = [], []
    for order in batch.orders:
        samples = say(order, batch.data)
        spoken.append(len(samples))
        if batch.with_damage and rng.random() < ROOM_SHARE:
            samples = add_room(samples, rng)
        if batch.with_damage and rng.random() < CLIPPING_SHARE:
            samples = np.clip(samples * rng.uniform(2, 6), -0.9, 0.9).astype(np.float32)
        heard.append(samples)
    if batch.with_damage:
        heard = _some_through_codec(heard, rng)
    return [
        (
            Utterance(
                order.language, order.text, order.pair.english, f"{order.base}+{order.variant}",
                0, len(samples), length,
            ),
            to_int16(samples),
        )
        for order, length, samples in zip(batch.orders, spoken, heard, strict=True)
    ]  # fmt: skip


def _some_through_codec(heard: list[Samples], rng: np.random.Generator) -> list[Samples]:
    """Send a share of the utterances through one codec, as one stream with gaps of 0.2 s."""
    chosen = [number for number in range(len(heard)) if rng.random() < CODEC_SHARE]
    gap = np.zeros(SAMPLE_RATE_HZ // 5, np.float32)
    stream = np.concatenate([part for n in chosen for part in (gap, heard[n])] + [gap])
    decoded = through_codec(stream, *CODECS[rng.integers(len(CODECS))])
    result, position = list(heard), 0
    for number in chosen:
        position += len(gap)
        result[number] = decoded[position : position + len(heard[number])]
        position += len(heard[number])
    return result


def training_orders(count: int, made: list[str], rng: random.Random) -> Iterator[Order]:
    """Yield orders in heard voices, of sentences that training may see, half of them Hindi."""
    variants = heard_variants()
    for number in range(count):
        language = ("hi", "en")[number % 2]
        yield Order(
            language,
            sentences.draw_training_pair(rng),
            rng.choice(made if rng.random() < MADE_VOICE_SHARE else variants),
            rng.choice(LANGUAGE_VOICES[language]),
            rng.randint(120, 215),
            rng.randint(25, 75),
        )


def held_out_orders(count: int, rng: random.Random) -> Iterator[Order]:
    """Yield orders in held-out voices in turn, of held-out sentences, half of them Hindi."""
    _, pairs = sentences.split()
    for number in range(count):
        language = ("hi", "en")[number % 2]
        yield Order(
            language,
            rng.choice(pairs),
            HELD_OUT_VOICES[number // 2 % len(HELD_OUT_VOICES)],
            rng.choice(LANGUAGE_VOICES[language]),
            rng.randint(130, 200),
            rng.randint(30, 70),
        )


def write(name: str, orders: list[Order], seed: int, data: Path, with_damage: bool) -> None:
    """Say all orders in two processes and write `NAME.npy` and `NAME.json`."""
    batches = [
        Batch(seed + first, tuple(orders[first : first + BATCH]), data, with_damage)
        for first in range(0, len(orders), BATCH)
    ]
    rows, parts, position = [], [], 0
    with multiprocessing.Pool(2) as pool:
        for made in pool.imap(make_batch, batches):
            for utterance, samples in made:
                rows.append(dataclasses.asdict(dataclasses.replace(utterance, start=position)))
                parts.append(samples)
                position += len(samples)
            print(f"{name}: {len(rows)} of {len(orders)} utterances", flush=True)
    np.save(WORK / f"{name}.npy", np.concatenate(parts))
    (WORK / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False))


def load(name: str) -> tuple[npt.NDArray[np.int16], list[Utterance]]:
    """Return (all samples as int16[n_samples], the utterances) of a set that `write` made."""
    rows = json.loads((WORK / f"{name}.json").read_text())
    return np.load(WORK / f"{name}.npy", mmap_mode="r"), [Utterance(**row) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=("training", "held-out"))
    parser.add_argument("--count", type=int, help="utterances; 24,000 or 500 if left out")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    rng = random.Random(arguments.seed)
    made = write_made_voices(WORK, rng)
    if arguments.name == "training":
        orders = list(training_orders(arguments.count or 24_000, made, rng))
    else:
        orders = list(held_out_orders(arguments.count or 500, rng))
    training = arguments.name == "training"
    write(arguments.name, orders, arguments.seed, WORK, with_damage=training)


if __name__ == "__main__":
    main()
