"""Whisper's log-mel spectrograms in numpy, for engines that load no torch."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from transforms.records import SAMPLE_RATE_HZ

FFT_SAMPLES = 400
HOP_SAMPLES = 160
FRAMES = 3000  # of a window of 30 seconds
DYNAMIC_RANGE = 8.0  # in powers of ten, below the loudest
SILENCE = -10.0  # the least power's logarithm
LINEAR_HZ, LINEAR_MELS = 1000.0, 15.0  # of Slaney's scale: linear to here, logarithmic above
MELS_PER_LOG = 27.0 / np.log(6.4)


def log_mel(windows: Sequence[np.ndarray], mels: int) -> np.ndarray:
    """float32[n_windows, mels, FRAMES], of samples float32[n] in -1 to 1, each at most 30 seconds."""
    features = np.empty((len(windows), mels, FRAMES), np.float32)
    for row, samples in zip(features, windows, strict=True):
        _fill(row, samples)
    return features


def _fill(row: np.ndarray, samples: np.ndarray) -> None:
    """Write a window's spectrogram; behind its audio, where all is silence, nothing is computed."""
    margin = FFT_SAMPLES // 2
    samples = samples[: FRAMES * HOP_SAMPLES]
    frames = min(FRAMES, (len(samples) + margin) // HOP_SAMPLES + 1)
    padded = np.zeros(FRAMES * HOP_SAMPLES, np.float32)
    padded[: len(samples)] = samples
    padded = np.pad(padded, margin, mode="reflect")
    cut = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES][:frames]
    power = np.abs(np.fft.rfft(cut * _hann())) ** 2
    row[:, :frames] = np.log10(np.maximum(_filters(len(row)) @ power.T.astype(np.float32), 10**SILENCE))
    row[:, frames:] = SILENCE
    np.maximum(row, row.max() - DYNAMIC_RANGE, out=row)
    row += 4.0
    row /= 4.0


@functools.cache
def _hann() -> np.ndarray:
    return np.hanning(FFT_SAMPLES + 1)[:-1].astype(np.float32)


@functools.cache
def _filters(mels: int) -> np.ndarray:
    """float32[mels, bins]: triangles of equal area, evenly spaced on Slaney's scale."""
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT_SAMPLES // 2 + 1)
    edges = _hz(np.linspace(0.0, _mel(SAMPLE_RATE_HZ / 2), mels + 2))
    width = np.diff(edges)
    slopes = edges[:, None] - bins
    rising, falling = -slopes[:-2] / width[:-1, None], slopes[2:] / width[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _mel(hz: float) -> float:
    return LINEAR_MELS + np.log(hz / LINEAR_HZ) * MELS_PER_LOG


def _hz(mel: np.ndarray) -> np.ndarray:
    return np.where(
        mel < LINEAR_MELS,
        mel * LINEAR_HZ / LINEAR_MELS,
        LINEAR_HZ * np.exp((mel - LINEAR_MELS) / MELS_PER_LOG),
    )
