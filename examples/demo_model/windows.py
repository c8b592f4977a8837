"""Compose training windows out of utterances: pauses, gains, noise, log-mel and target tokens.

A batch depends on (seed, stage, number of the batch) only, so a training that resumes sees what it
would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import speech
import torch
import vocabulary
from speech import SAMPLE_RATE_HZ, Samples, Utterance
from torch import Tensor
from torch.utils.data import Dataset
from transformers.audio_utils import mel_filter_bank

HOP = 160
FFT = 400
MELS = 80
STATES_PER_S = 50
IGNORED = -100
NO_SPEECH_SHARE = 0.06
TIMESTAMPS_SHARE = 0.6
TRANSLATION_SHARE = {"hi": 0.4, "en": 0.06}


@dataclass(frozen=True)
class Placed:
    """An utterance inside a window."""

    utterance: Utterance
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Window:
    """float32[longest window] samples; audio_s of it are heard, zeros follow."""

    samples: Samples
    audio_s: float
    placed: tuple[Placed, ...]


@dataclass(frozen=True)
class Shape:
    """What the windows of a stage look like."""

    frame_s: int
    """The encoder's input; what the audio does not fill is silence."""
    longest_s: float
    most_utterances: int
    batch: int
    full_share: float = 0.5
    """How many windows are filled with as many utterances as fit; the others have fewer."""


@dataclass(frozen=True)
class Batch:
    """Tensors of one training step."""

    mels: Tensor
    """float32[batch, 80, frame_s * 100], Whisper's log-mel."""
    tokens: Tensor
    """int64[batch, n_tokens], what the decoder is given, from `<|startoftranscript|>` on."""
    labels: Tensor
    """int64[batch, n_tokens], the next token, or −100 where it is not learned."""
    spoken: Tensor
    """int64[batch, n_spoken], characters in the language spoken, padded with 0."""
    spoken_lengths: Tensor
    states: Tensor
    """int64[batch], encoder states that hold audio."""


class Noise:
    """Slices of many kinds of noise, each with a root mean square of 1."""

    length = 40 * SAMPLE_RATE_HZ

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.coloured = [_coloured(self.length, slope, rng) for slope in (0, 0, 0.5, 1, 1, 1.5, 2)]

    def draw(self, length: int, rng: np.random.Generator) -> Samples:
        """Return float32[length]: coloured noise, a hum, tones or something like music."""
        kind = rng.random()
        if kind < 0.7:
            start = rng.integers(self.length - length)
            noise = self.coloured[rng.integers(len(self.coloured))][start : start + length]
            if rng.random() < 0.2:
                noise = noise * _swell(length, rng)
        elif kind < 0.8:
            noise = _tones(length, rng.choice((50, 60, 100, 120)) * np.arange(1, 7), rng)
        elif kind < 0.9:
            noise = _tones(length, rng.uniform(80, 4_000, rng.integers(1, 4)), rng)
        else:
            noise = _music(length, rng)
        return (noise / (np.sqrt(np.mean(noise**2)) + 1e-9)).astype(np.float32)


def _coloured(length: int, slope: float, rng: np.random.Generator) -> Samples:
    """Return noise whose spectrum falls as frequency to the power of −slope."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20 * length / SAMPLE_RATE_HZ) ** (slope / 2)
    noise = np.fft.irfft(spectrum, length)
    return (noise / noise.std()).astype(np.float32)


def _swell(length: int, rng: np.random.Generator) -> Samples:
    """Return a slow gain between 0 and 1."""
    knots = rng.random(max(2, length // 4_000)) ** 2
    return np.interp(np.arange(length), np.linspace(0, length, len(knots)), knots)


def _tones(length: int, frequencies_hz: npt.ArrayLike, rng: np.random.Generator) -> Samples:
    """Return a sum of sines with random phases and strengths."""
    time_s = np.arange(length, dtype=np.float32) / SAMPLE_RATE_HZ
    total = np.zeros(length, np.float32)
    for frequency in np.asarray(frequencies_hz, np.float32):
        total += rng.uniform(0.1, 1) * np.sin(2 * np.pi * (frequency * time_s + rng.random()))
    return total


def _music(length: int, rng: np.random.Generator) -> Samples:
    """Return plucked notes of a scale, a few a second."""
    music = np.zeros(length + SAMPLE_RATE_HZ, np.float32)
    fade = np.exp(-np.arange(SAMPLE_RATE_HZ) / (rng.uniform(0.05, 0.4) * SAMPLE_RATE_HZ))
    position = 0
    while position < length:
        pitch_hz = 110 * 2 ** (rng.choice((0, 2, 4, 5, 7, 9, 11, 12, 16, 19)) / 12)
        note = _tones(SAMPLE_RATE_HZ, pitch_hz * np.arange(1, 5), rng) * fade
        music[position : position + SAMPLE_RATE_HZ] += note
        position += int(rng.uniform(0.1, 0.6) * SAMPLE_RATE_HZ)
    return music[:length]


class Composer:
    """Makes windows out of a set of utterances."""

    def __init__(self, name: str) -> None:
        self.samples, utterances = speech.load(name)
        self.by_language = {code: [u for u in utterances if u.language == code] for code in ("hi", "en")}
        self.noise = Noise()

    def compose(self, language: str, shape: Shape, rng: np.random.Generator) -> Window:
        """Return a window of one language with 1 or more utterances, all of them whole."""
        samples = np.zeros(int(shape.longest_s * SAMPLE_RATE_HZ), np.float32)
        placed: list[Placed] = []
        most = shape.most_utterances
        wanted = most if rng.random() < shape.full_share else rng.integers(1, most + 1)
        position_s = rng.uniform(0, 1.0) if rng.random() < 0.7 else 0.0
        gain = 10 ** rng.uniform(-1.5, 0)
        while len(placed) < wanted:
            utterance = self._draw(language, rng)
            sound, spoken_s = self._sound(utterance, rng)
            if position_s + spoken_s > shape.longest_s:
                if placed:
                    break
                position_s = 0.0
                continue
            start = int(position_s * SAMPLE_RATE_HZ)
            part = samples[start : start + len(sound)]
            part += sound[: len(part)] * gain * 10 ** rng.uniform(-0.3, 0)
            placed.append(Placed(utterance, position_s, position_s + spoken_s))
            pause_s = rng.uniform(0.15, 1.2) if rng.random() < 0.9 else rng.uniform(1.2, 3)
            position_s += spoken_s + pause_s
        audio_s = min(shape.longest_s, placed[-1].end_s + rng.uniform(0, 1))
        if rng.random() < 0.4:
            audio_s = shape.longest_s
        self._add_noise(samples[: int(audio_s * SAMPLE_RATE_HZ)], gain, rng)
        return Window(samples, audio_s, tuple(placed))

    def silence(self, shape: Shape, rng: np.random.Generator) -> Window:
        """Return a window without speech: digital silence or any noise at any level."""
        length = int(shape.longest_s * SAMPLE_RATE_HZ)
        samples = np.zeros(length, np.float32)
        audio_s = rng.uniform(0.3, shape.longest_s)
        heard = samples[: int(audio_s * SAMPLE_RATE_HZ)]
        if rng.random() < 0.85:
            heard += self.noise.draw(len(heard), rng) * 10 ** rng.uniform(-4, -0.5)
        return Window(np.clip(samples, -1, 1), audio_s, ())

    def _draw(self, language: str, rng: np.random.Generator) -> Utterance:
        choices = self.by_language[language]
        return choices[rng.integers(len(choices))]

    def _sound(self, utterance: Utterance, rng: np.random.Generator) -> tuple[Samples, float]:
        """Return (samples with a peak of 1, seconds spoken), sometimes faster or slower."""
        end = utterance.start + utterance.length
        sound = self.samples[utterance.start : end].astype(np.float32)
        sound /= np.abs(sound).max() + 1e-9
        spoken_s = utterance.spoken / SAMPLE_RATE_HZ
        if rng.random() < 0.4:
            rate = rng.uniform(0.88, 1.14)
            points = np.arange(0, len(sound) - 1, rate, dtype=np.float32)
            sound = np.interp(points, np.arange(len(sound)), sound).astype(np.float32)
            spoken_s /= rate
        return sound, spoken_s

    def _add_noise(self, heard: Samples, gain: float, rng: np.random.Generator) -> None:
        """Add noise in place, 15 to 70 dB below the speech's peak."""
        level = gain * 10 ** rng.uniform(-3.5, -0.9 if rng.random() < 0.3 else -1.5)
        heard += self.noise.draw(len(heard), rng) * level


def log_mel(samples: Tensor, frame_s: int) -> Tensor:
    """Return Whisper's log-mel, float32[batch, 80, frame_s * 100], of float32[batch, n_samples].

    As `WhisperFeatureExtractor` computes it for audio padded with zeros to frame_s.
    """
    window = torch.hann_window(FFT)
    spectrum = torch.stft(samples, FFT, HOP, window=window, return_complex=True)
    filters = torch.from_numpy(
        mel_filter_bank(1 + FFT // 2, MELS, 0.0, 8_000.0, SAMPLE_RATE_HZ, "slaney", "slaney")
    ).float()
    mels = filters.T @ spectrum[..., :-1].abs().square()
    mels = mels.clamp(min=1e-10).log10()
    floor = mels.amax(dim=(1, 2), keepdim=True) - 8
    mels = torch.maximum(mels, floor)
    padding = frame_s * SAMPLE_RATE_HZ // HOP - mels.shape[-1]
    silence = floor.clamp(min=-10).expand(-1, MELS, padding)
    return (torch.cat([mels, silence], dim=-1) + 4) / 4


def mask_bands(mels: Tensor, rng: np.random.Generator) -> None:
    """Flatten up to two bands of frequency in half of the windows, in place."""
    for mel in mels:
        for _ in range(rng.choice((0, 0, 1, 2))):
            first = int(rng.integers(MELS - 14))
            mel[first : first + int(rng.integers(2, 14))] = mel.mean()


class Targets:
    """Turns what a window holds into tokens."""

    def __init__(self) -> None:
        self.tokenizer = vocabulary.make_processor().tokenizer
        self.letters = {letter: number for number, letter in enumerate(vocabulary.letters())}
        self.cache: dict[str, list[int]] = {}

    def token(self, name: str) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(name))

    def text(self, text: str) -> list[int]:
        """Return the tokens of a sentence with a space before it."""
        if text not in self.cache:
            encoded = self.tokenizer(f" {text}", add_special_tokens=False)
            self.cache[text] = list(encoded.input_ids)
        return self.cache[text]

    def timestamp(self, time_s: float) -> int:
        return self.token("<|0.00|>") + round(time_s / vocabulary.TIMESTAMP_STEP_S)

    def sequence(self, window: Window, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Return (tokens, labels): the language is learned, task and timestamps are given."""
        speaks = window.placed[0].utterance.language if window.placed else ""
        language = speaks or rng.choice(("hi", "en"))
        translate = rng.random() < TRANSLATION_SHARE[language]
        timed = rng.random() < TIMESTAMPS_SHARE
        start, end = self.token("<|startoftranscript|>"), self.token(vocabulary.END)
        no_speech = self.token("<|nospeech|>")
        if not speaks and rng.random() < 0.5:
            return [start, no_speech], [no_speech, end]
        task = self.token("<|translate|>" if translate else "<|transcribe|>")
        tokens = [start, self.token(f"<|{language}|>"), task]
        labels = [tokens[1] if speaks else no_speech, IGNORED]
        if not timed:
            tokens.append(self.token("<|notimestamps|>"))
            labels.append(IGNORED)
        body = self._body(window, translate, timed)
        return tokens + body, labels + body + [end]

    def _body(self, window: Window, translate: bool, timed: bool) -> list[int]:
        """Return text tokens, with a timestamp before and after each utterance if timed."""
        body: list[int] = [self.timestamp(0)] if timed and not window.placed else []
        for placed in window.placed:
            utterance = placed.utterance
            text = self.text(utterance.translation if translate else utterance.text)
            if timed:
                text = [self.timestamp(placed.start_s), *text, self.timestamp(placed.end_s)]
            body += text
        return body

    def spoken(self, window: Window) -> list[int]:
        """Return the characters as spoken, numbered, for the loss on the encoder's states."""
        text = "".join(f" {placed.utterance.text}" for placed in window.placed)
        return [self.letters[letter] for letter in text]


class Batches(Dataset[Batch]):
    """The batches of one stage, by number."""

    def __init__(self, name: str, shape: Shape, seed: int, count: int) -> None:
        self.composer, self.targets = Composer(name), Targets()
        self.shape, self.seed, self.count = shape, seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Batch:
        rng = np.random.default_rng([self.seed, self.shape.frame_s, number])
        windows = [self._window(rng) for _ in range(self.shape.batch)]
        mels = log_mel(torch.from_numpy(np.stack([w.samples for w in windows])), self.shape.frame_s)
        mask_bands(mels, rng)
        sequences = [self.targets.sequence(window, rng) for window in windows]
        spoken = [self.targets.spoken(window) for window in windows]
        return Batch(
            mels,
            _padded([tokens for tokens, _ in sequences], self.targets.token(vocabulary.END)),
            _padded([labels for _, labels in sequences], IGNORED),
            _padded(spoken, 0),
            torch.tensor([len(tokens) for tokens in spoken]),
            torch.tensor([int(np.ceil(w.audio_s * STATES_PER_S)) for w in windows]),
        )

    def _window(self, rng: np.random.Generator) -> Window:
        if rng.random() < NO_SPEECH_SHARE:
            return self.composer.silence(self.shape, rng)
        return self.composer.compose(str(rng.choice(("hi", "en"))), self.shape, rng)


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Return int64[n_rows, longest row], short rows filled at the end."""
    longest = max(1, max(len(row) for row in rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
