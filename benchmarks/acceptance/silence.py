"""Media in which nobody speaks: what is heard in them is made up."""

from __future__ import annotations

import pathlib
import wave

import numpy as np

RATE_HZ = 16_000
LENGTH_S = 10
HISS_DB, HUM_DB = -60, -30  # of full scale
HUM_HZ = (50, 150, 250)  # mains, with its odd overtones


def write_silence(folder: pathlib.Path) -> list[str]:
    """The names of the media, below the folder. What is there already stays, so that a run finds it unchanged."""
    made = {f"silence/{name}.wav": pcm for name, pcm in _sounds().items()}
    for name, pcm in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with wave.open(str(path), "wb") as out:
                out.setparams((1, 2, RATE_HZ, len(pcm), "NONE", ""))
                out.writeframes((pcm * 32_767).astype("<i2").tobytes())
    return list(made)


def _sounds() -> dict[str, np.ndarray]:
    """float64[LENGTH_S * RATE_HZ] in [-1, 1] by name."""
    times = np.arange(LENGTH_S * RATE_HZ) / RATE_HZ
    hiss = np.random.default_rng(1).standard_normal(len(times)) * 10 ** (HISS_DB / 20)
    hum = sum(np.sin(2 * np.pi * hz * times) for hz in HUM_HZ) / len(HUM_HZ) * 10 ** (HUM_DB / 20)
    return {"nothing": np.zeros_like(times), "hiss": hiss, "hum": hum}
