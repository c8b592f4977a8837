"""TranslateText: Transcript → Transcript with a translation. Dead letters and media with nothing left pass through.

The model's own translations came with the transcript. An LLM's are asked for here, several media at once, and are
committed to the translation layer; transcripts leave in the order in which they are finished.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam

from transforms.dofns.base import ThreadedDoFn
from transforms.dofns.figures import TRANSLATE
from transforms.dofns.metrics import UNWATCHED, Watch
from transforms.records import MediaResult, Transcript
from transforms.translators.protocol import Translator, TranslatorSettings
from transforms.work.store import WorkStore
from transforms.work.transcripts import with_texts


@dataclasses.dataclass(frozen=True)
class TranslateConfig:
    """Who translates, if anybody still has to."""

    translator: TranslatorSettings | None = None
    concurrency: int = 8  # media at once

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"translate_concurrency is {self.concurrency}: at least one recording at once")


@dataclasses.dataclass
class TranslateText(beam.PTransform):
    """Translate transcripts that are not in the target language yet."""

    work: WorkStore
    config: TranslateConfig
    watch: Watch = UNWATCHED

    def expand(self, result: beam.PCollection[MediaResult]) -> beam.PCollection[MediaResult]:
        if self.config.translator is None:
            return result
        translating = Translate(self.work, self.config, self.watch)
        return result | "Translate" >> beam.ParDo(translating).with_output_types(MediaResult)


class Translate(ThreadedDoFn[TranslateConfig, "TranslationResult", Transcript]):
    """Translates several media at once: requests wait for the server, not for one another."""

    step = TRANSLATE

    def threads(self) -> int:
        return self._config.concurrency

    def setup(self) -> None:
        super().setup()
        assert self._config.translator is not None
        self._translator = self._config.translator.open()

    def process(self, result: MediaResult) -> Iterator[MediaResult]:
        self._metrics.count(elements_in=1)
        if not isinstance(result, Transcript):
            self._metrics.count(elements_out=1)
            yield result
            return
        self._threads.begin(self._translated, result)
        yield from self._completed()

    def teardown(self) -> None:
        self._translator.stop()
        super().teardown()

    def _translated(self, transcript: Transcript) -> Iterator[TranslationResult]:
        yield translate(transcript, self._translator, self._work, self._config)

    def counted(self, translated: TranslationResult) -> Transcript:
        transcript = translated.transcript
        cues_failed = sum(problem.code == "translation_failed" for problem in transcript.problems)
        self._metrics.count(
            elements_out=1,
            failed=cues_failed > 0,
            media=translated.committed,
            audio_ms=round(transcript.audio.duration_s * 1000) if translated.committed else 0,
            cues=translated.asked,
            cues_failed=cues_failed,
        )
        return transcript


class TranslationResult(NamedTuple):
    """A transcript with its translation, and how much of that is new."""

    transcript: Transcript
    committed: bool = False  # False where the layer held all of it
    asked: int = 0  # cues that the translator was asked for


def translate(
    transcript: Transcript, translator: Translator, work: WorkStore, config: TranslateConfig
) -> TranslationResult:
    """The transcript with its translation, which is committed: the translator is asked for what the layer lacks.

    A cue that could not be translated is a problem of the transcript, and a later run asks for it again.
    """
    assert config.translator is not None
    target, segments = config.translator.target, transcript.segments
    committed = work.read_translation(transcript)
    texts, error = committed or ([None] * len(segments), "")
    missing = [number for number, text in enumerate(texts) if text is None]
    foreign = [number for number in missing if segments[number].language != target]
    if missing:
        spoken = {segments[number].language for number in foreign}
        source = spoken.pop() if len(spoken) == 1 else ""  # of several, each cue is in its own
        found, error = translator.translate([segments[number].text for number in foreign], source)
        answers = dict(zip(foreign, found, strict=True))
        texts = [
            answers.get(number) if number in answers else text if text is not None else segments[number].text
            for number, text in enumerate(texts)
        ]
        work.commit_translation(transcript, texts, error)
    return TranslationResult(with_texts(transcript, texts, error, target), bool(missing), len(foreign))
