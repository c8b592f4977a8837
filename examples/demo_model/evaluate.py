"""Measure a packed model on voices and sentences that training never saw: `python evaluate.py`.

Prints a table and writes `work/evaluation.json`. Words count as they are written, with their
capitals and punctuation. The language is the model's own guess, as in use.
"""

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import sentences
import speech
import torch
from speech import SAMPLE_RATE_HZ, WORK, Samples, Utterance
from torch import Tensor
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from transformers.modeling_outputs import BaseModelOutput
from windows import Noise

SEED = 5
BATCH = 16
NO_SPEECH = 0.6
"""In use, a window whose no-speech probability is higher is dropped."""
NEAR_S = 0.25
STEP_S = 0.02


@dataclass(frozen=True)
class Spoken:
    """What is said in a window, and when."""

    text: str
    translation: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Case:
    """A window and what the model should make of it; no utterances: silence of some kind."""

    samples: Samples
    language: str
    voice: str
    spoken: tuple[Spoken, ...]


@dataclass(frozen=True)
class Heard:
    """What the model makes of a window."""

    language: str
    no_speech: float
    segments: tuple[tuple[float, float, str], ...]

    @property
    def words(self) -> list[str]:
        return " ".join(text for _, _, text in self.segments).split()


class Model:
    """A packed model in float32 on the CPU."""

    def __init__(self, folder: Path) -> None:
        self.processor = WhisperProcessor.from_pretrained(folder)
        self.whisper = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.whisper.eval()
        self.longest_window_s = float(self.whisper.config.longest_window_s)
        token = self.processor.tokenizer.convert_tokens_to_ids
        self.languages = self.whisper.generation_config.lang_to_id
        self.end, self.zero = token("<|endoftext|>"), token("<|0.00|>")
        self.start, self.no_speech = token("<|startoftranscript|>"), token("<|nospeech|>")

    @torch.inference_mode()
    def hear(self, cases: Sequence[Case], task: str) -> list[Heard]:
        """Return what the model hears in each window, in order."""
        heard = []
        for first in range(0, len(cases), BATCH):
            heard += self._hear(cases[first : first + BATCH], task)
        return heard

    def _hear(self, cases: Sequence[Case], task: str) -> list[Heard]:
        sounds = [case.samples for case in cases]
        mels = self.processor(sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        states = self.whisper.model.encoder(mels.input_features).last_hidden_state
        languages, silence = self._first_token(states)
        tokens = self.whisper.generate(
            input_features=mels.input_features,
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            language=languages,
            task=task,
            return_timestamps=True,
        )
        return [
            Heard(language, no_speech, tuple(self._segments(row.tolist())))
            for language, no_speech, row in zip(languages, silence, tokens, strict=True)
        ]

    def _first_token(self, states: Tensor) -> tuple[list[str], list[float]]:
        """Return (most likely language, probability of no speech) of each window."""
        start = torch.full((len(states), 1), self.start)
        scores = self.whisper(encoder_outputs=(states,), decoder_input_ids=start).logits[:, 0]
        codes = list(self.languages)
        best = scores[:, [self.languages[code] for code in codes]].argmax(-1)
        languages = [codes[index].strip("<|>") for index in best.tolist()]
        return languages, scores.softmax(-1)[:, self.no_speech].tolist()

    def _segments(self, tokens: Sequence[int]) -> Iterator[tuple[float, float, str]]:
        """Yield (start, end, text) of each utterance; a missing end is the start."""
        text: list[int] = []
        times: list[float] = []
        for token in tokens:
            if token < self.end:
                text.append(token)
            elif token >= self.zero:
                times.append((token - self.zero) * STEP_S)
                if text:
                    yield times[0], times[-1], self.processor.tokenizer.decode(text).strip()
                    text, times = [], []
                else:
                    times = times[-1:]
        if text:
            start_s = times[0] if times else 0.0
            yield start_s, start_s, self.processor.tokenizer.decode(text).strip()


def errors(wanted: Sequence[str], got: Sequence[str]) -> int:
    """Return the least number of words to insert, delete or replace."""
    row = list(range(len(got) + 1))
    for number, word in enumerate(wanted, 1):
        previous, row[0] = row[0], number
        for column, other in enumerate(got, 1):
            replaced = previous + (word != other)
            previous, row[column] = row[column], min(replaced, row[column] + 1, row[column - 1] + 1)
    return row[-1]


class Bench:
    """Makes windows of held-out voices and sentences, the same each time."""

    def __init__(self) -> None:
        self.samples, self.utterances = speech.load("held-out")
        self.rng = np.random.default_rng(SEED)
        self.noise = Noise(SEED)

    def singles(self) -> list[Case]:
        """Return each held-out utterance alone in a window."""
        return [self._window([utterance], 0) for utterance in self.utterances]

    def filled(self, longest_s: float, count: int) -> list[Case]:
        """Return windows filled up to longest_s, each of one language and one voice after another.

        Pauses are 0.15 to 1.2 s; utterances are added in turn until the next would not fit.
        """
        queues = {code: self._queue(code) for code in ("hi", "en")}
        return [self._fill(queues[("hi", "en")[n % 2]], longest_s) for n in range(count)]

    def silences(self, count: int, longest_s: float) -> list[Case]:
        """Return windows of silence, noise, tones and hum, a quarter each, at many levels."""
        cases = []
        for number in range(count):
            length = int(self.rng.uniform(1, longest_s) * SAMPLE_RATE_HZ)
            sound = self._nothing(("silence", "noise", "tones", "hum")[number % 4], length)
            cases.append(Case(sound * np.float32(10 ** self.rng.uniform(-3, -0.7)), "", "", ()))
        return cases

    def _nothing(self, kind: str, length: int) -> Samples:
        time_s = np.arange(length) / SAMPLE_RATE_HZ
        if kind == "silence":
            return np.zeros(length, np.float32)
        if kind == "noise":
            colour = self.noise.coloured[self.rng.integers(len(self.noise.coloured))]
            return colour[:length]
        if kind == "tones":
            pitches_hz = self.rng.uniform(100, 3_500, self.rng.integers(1, 4))
        else:
            pitches_hz = self.rng.choice((50, 60)) * np.arange(1, 8)
        waves = [np.sin(2 * np.pi * pitch * time_s) for pitch in pitches_hz]
        return np.mean(waves, axis=0).astype(np.float32)

    def _queue(self, language: str) -> Iterator[Utterance]:
        """Yield utterances of a language without end, shuffled."""
        of_language = [u for u in self.utterances if u.language == language]
        while True:
            for index in self.rng.permutation(len(of_language)):
                yield of_language[index]

    def _fill(self, queue: Iterator[Utterance], longest_s: float) -> Case:
        chosen, total_s = [], 0.2
        for utterance in queue:
            total_s += utterance.spoken / SAMPLE_RATE_HZ + 0.7
            if total_s > longest_s and chosen:
                break
            chosen.append(utterance)
        return self._window(chosen, longest_s)

    def _window(self, utterances: Sequence[Utterance], longest_s: float) -> Case:
        """Return the utterances with pauses between, shortened to fit, over faint noise."""
        spoken_s = sum(utterance.spoken for utterance in utterances) / SAMPLE_RATE_HZ
        pauses_s = self.rng.uniform(0.15, 1.2, len(utterances))
        if longest_s:
            room_s = longest_s - spoken_s - 0.02
            pauses_s *= min(1.0, room_s / pauses_s.sum())
        length_s = longest_s or spoken_s + pauses_s.sum() + self.rng.uniform(0, 0.5)
        samples = np.zeros(int(length_s * SAMPLE_RATE_HZ) + 1, np.float32)
        spoken, position_s = [], 0.0
        for utterance, pause_s in zip(utterances, pauses_s, strict=True):
            position_s += pause_s
            spoken.append(self._place(utterance, position_s, samples))
            position_s = spoken[-1].end_s
        level = 10 ** self.rng.uniform(-4, -2)
        samples += self.noise.draw(len(samples), self.rng) * np.float32(level)
        first = utterances[0]
        return Case(samples, first.language, first.voice.split("+")[1], tuple(spoken))

    def _place(self, utterance: Utterance, start_s: float, samples: Samples) -> Spoken:
        """Add an utterance to the samples, in place, with a peak of 0.1 to 0.9."""
        end = utterance.start + utterance.length
        sound = self.samples[utterance.start : end].astype(np.float32)
        sound *= self.rng.uniform(0.1, 0.9) / np.abs(sound).max()
        start = int(start_s * SAMPLE_RATE_HZ)
        samples[start : start + len(sound)] += sound[: len(samples) - start]
        end_s = float(start_s + utterance.spoken / SAMPLE_RATE_HZ)
        return Spoken(utterance.text, utterance.translation, float(start_s), end_s)


@dataclass(frozen=True)
class Score:
    """How one set of windows was understood; the shares are between 0 and 1."""

    windows: int
    words: int
    word_error: dict[str, float]
    median_voice_error: float
    voice_error: dict[str, float]
    language_right: float
    times_near: float
    """Share of starts and ends within 0.25 s; all of a window's are wrong if the count differs."""


def score(cases: Sequence[Case], heard: Sequence[Heard], translated: bool = False) -> Score:
    """Return word error by language and voice, and how good languages and times are."""
    wrong: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    languages, near, edges = 0, 0, 0
    for case, result in zip(cases, heard, strict=True):
        texts = [spoken.translation if translated else spoken.text for spoken in case.spoken]
        wanted = " ".join(texts).split()
        for key in (case.language, f"{case.language} {case.voice}", case.voice):
            wrong[key] += errors(wanted, result.words)
            total[key] += len(wanted)
        languages += case.language == result.language
        near += _edges_near(case, result)
        edges += 2 * len(case.spoken)
    share = {key: wrong[key] / total[key] for key in total}
    voices = {case.voice: share[case.voice] for case in cases}
    return Score(
        windows=len(cases),
        words=sum(total[code] for code in ("hi", "en")),
        word_error={code: share[code] for code in ("hi", "en") if code in share},
        median_voice_error=median(voices.values()),
        voice_error={key: share[key] for key in sorted(share) if key not in ("hi", "en")},
        language_right=languages / len(cases),
        times_near=near / edges,
    )


def _edges_near(case: Case, heard: Heard) -> int:
    """Return how many starts and ends are within 0.25 s of what was said."""
    if len(case.spoken) != len(heard.segments):
        return 0
    return sum(
        (abs(spoken.start_s - start_s) <= NEAR_S) + (abs(spoken.end_s - end_s) <= NEAR_S)
        for spoken, (start_s, end_s, _) in zip(case.spoken, heard.segments, strict=True)
    )


def _is_base(case: Case) -> bool:
    """Return whether the first sentence of a window is of the base patterns."""
    return case.spoken[0].text in sentences.base_sentences()


def evaluate(model: Model, filled: int, longest_s: Sequence[float]) -> dict[str, object]:
    """Return all figures as JSON holds them."""
    bench = Bench()
    singles = bench.singles()
    heard = model.hear(singles, "transcribe")
    later = [n for n, case in enumerate(singles) if not _is_base(case)]
    hindi = [case for case in singles if case.language == "hi"]
    figures: dict[str, object] = {
        "single": asdict(score(singles, heard)),
        "single, beyond the base patterns": asdict(score([singles[n] for n in later], [heard[n] for n in later])),
        "translation": asdict(score(hindi, model.hear(hindi, "translate"), translated=True)),
    }
    for length_s in longest_s:
        cases = bench.filled(length_s, filled)
        figures[f"filled to {length_s:g} s"] = asdict(score(cases, model.hear(cases, "transcribe")))
    silences = bench.silences(200, model.longest_window_s)
    heard = model.hear(silences, "transcribe")
    figures["no speech"] = {
        "windows": len(heard),
        "words": sum(len(h.words) for h in heard if h.no_speech <= NO_SPEECH),
        "words without the rule": sum(len(h.words) for h in heard),
        "least probability": min(h.no_speech for h in heard),
    }
    return figures


def table(figures: dict[str, dict]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| windows | number | words | word error, Hindi | English | median voice | language | times within 0.25 s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in figures.items():
        if "word_error" not in row:
            continue
        hindi, english = (
            f"{row['word_error'][code]:.1%}" if code in row["word_error"] else "" for code in ("hi", "en")
        )
        lines.append(
            f"| {name} | {row['windows']} | {row['words']} | {hindi} | {english} "
            f"| {row['median_voice_error']:.1%} | {row['language_right']:.1%} "
            f"| {row['times_near']:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=WORK / "packed")
    parser.add_argument("--filled", type=int, default=100, help="filled windows of each length")
    parser.add_argument("--longest-s", type=float, nargs="*", default=[8, 15, 24, 30])
    parser.add_argument("--out", type=Path, default=WORK / "evaluation.json")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    model = Model(arguments.folder)
    figures = evaluate(model, arguments.filled, arguments.longest_s)
    weights = (arguments.folder / "model.safetensors").read_bytes()
    figures["parameters"] = model.whisper.num_parameters()
    figures["sha256"] = hashlib.sha256(weights).hexdigest()
    arguments.out.write_text(json.dumps(figures, indent=1, ensure_ascii=False))
    print(table({name: row for name, row in figures.items() if isinstance(row, dict)}))
    print(json.dumps(figures["no speech"]))
    print(json.dumps(figures["single"]["voice_error"], ensure_ascii=False))


if __name__ == "__main__":
    main()
