"""TranscribeSpeech: SpeechWindow → Transcript, DeadLetter, or MediaOutcome for a recording with nothing left to do.

Windows of many media share a batch. Behind the model the windows of a chunk are joined, and the chunk is committed
to the asr layer before anything else is done with it; no committed chunk is inferred twice.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import RunInference
from apache_beam.transforms.window import GlobalWindows

from transforms.dead_letters import MediaError, attempt, dead_letter
from transforms.dofns.base import StepDoFn
from transforms.dofns.figures import TRANSCRIBE
from transforms.dofns.metrics import UNWATCHED, Watch
from transforms.engines.handler import SpeechHandler
from transforms.records import (
    ChunkTranscript,
    DeadLetter,
    MediaChunk,
    MediaOutcome,
    MediaResult,
    SpeechWindow,
    Transcript,
    WindowResult,
)
from transforms.work.store import WorkStore, complete
from transforms.work.transcripts import Provenance, assemble, read_transcript, window_record

Joined = ChunkTranscript | DeadLetter | MediaChunk


@dataclasses.dataclass
class TranscribeSpeech(beam.PTransform):
    """Infer windows in batches across media; a transcript leaves as soon as its last window is back."""

    handler: SpeechHandler
    work: WorkStore
    provenance: Provenance
    watch: Watch = UNWATCHED

    def expand(self, windows: beam.PCollection[SpeechWindow]) -> beam.PCollection[MediaResult]:
        return (
            windows
            | "Batch" >> beam.ParDo(BatchWindows(self.handler, self.watch)).with_output_types(list[SpeechWindow])
            | "RunInference" >> RunInference(self.handler.with_no_batching())
            | "Join" >> beam.ParDo(JoinWindows(self.watch)).with_output_types(Joined)
            | "Commit" >> beam.FlatMap(commit, self.work, self.provenance).with_output_types(MediaResult)
        )


class BatchWindows(StepDoFn):
    """Full batches across media, what is left at the end of the bundle, and windows without audio on their own.

    Beam's BatchElements would let a silent recording wait for a batch, and its batches grow by a guess at the best
    size.
    """

    step = TRANSCRIBE

    def __init__(self, handler: SpeechHandler, watch: Watch) -> None:
        super().__init__(watch)
        self._handler = handler

    def setup(self) -> None:
        super().setup()
        self._size = self._handler.engine.batch_size()

    def start_bundle(self) -> None:
        self._waiting: list[SpeechWindow] = []

    def process(self, window: SpeechWindow) -> Iterator[list[SpeechWindow]]:
        if not window.pcm:
            self._metrics.count(elements_in=1)
            yield [window]
            return
        self._waiting.append(window)
        if len(self._waiting) >= self._size:
            yield self._take()

    def finish_bundle(self) -> Iterator[Any]:
        if self._waiting:
            yield GlobalWindows.windowed_value(self._take())

    def _take(self) -> list[SpeechWindow]:
        batch, self._waiting = self._waiting, []
        Metrics.distribution(TRANSCRIBE, "batch_fill_percent").update(round(100 * len(batch) / self._size))
        full = len(batch)
        self._metrics.count(elements_in=full, batches=1, batch_windows=full, batch_places=self._size)
        return batch


class JoinWindows(StepDoFn):
    """Holds the results of chunks in flight, text only; a chunk leaves when every one of its windows is back."""

    step = TRANSCRIBE

    def start_bundle(self) -> None:
        self._open: dict[tuple[str, int], dict[int, WindowResult]] = {}

    def process(self, result: WindowResult) -> Iterator[Joined]:
        window = result.window
        if window.chunk.transcribed or window.chunk.dead:
            self._metrics.count(elements_out=1)
            yield window.chunk
            return
        key = (window.chunk.media.media_id, window.chunk.chunk)
        results = self._open.setdefault(key, {})
        results[window.number] = result
        self._count(result)
        total = max((each.window.total for each in results.values() if each.window.total is not None), default=None)
        if total is not None and len(results) >= max(total, 1):
            del self._open[key]
            joined = join_windows([results[number] for number in sorted(results)])
            lost = joined.step == "TranscribeSpeech" if isinstance(joined, DeadLetter) else joined.failed
            self._metrics.count(elements_out=1, chunks=not window.chunk.failure, failed=lost)
            yield joined

    def finish_bundle(self) -> Iterator[Any]:
        """The proof that nothing was lost: a chunk that is still open has windows missing."""
        for results in self._open.values():
            media = next(iter(results.values())).window.chunk.media
            lost = dead_letter("TranscribeSpeech", media, MediaError("incomplete", f"{len(results)} came back"))
            self._metrics.count(elements_out=1, failed=1)
            yield GlobalWindows.windowed_value(lost)

    def _count(self, result: WindowResult) -> None:
        heard = result.transcription
        if heard:
            heard_ms, work_ms = round(result.duration_s * 1000), round(heard.infer_s * 1000)
            doubted = {f"windows_{heard.verdict.code}": 1} if heard.verdict else {}
            self._metrics.count(windows=1, audio_ms=heard_ms, work_ms=work_ms, **doubted)


def join_windows(results: list[WindowResult]) -> ChunkTranscript | DeadLetter:
    """The chunk that all the results belong to, in order of index; or why it failed.

    One of several that the model failed on is a chunk like the others: its recording keeps what was heard of them.
    """
    last = results[-1].window
    if last.failure:
        return last.failure
    heard = [(result, result.transcription) for result in results if result.transcription]
    errors = [what.error for _, what in heard if what.error]
    if last.chunk.chunks == 1 and errors and len(errors) == len(heard):
        return dead_letter("TranscribeSpeech", last.chunk.media, MediaError("engine_failed", errors[0]))
    assert last.audio is not None  # the last window of a chunk that did not fail always has it
    records = tuple(window_record(result.window, result.duration_s, what) for result, what in heard)
    return ChunkTranscript(last.chunk, last.audio, records)


def commit(joined: Joined, work: WorkStore, provenance: Provenance) -> Iterator[MediaResult]:
    """Commit a chunk, and pass the transcript of its recording on when no other chunk is missing.

    Of two workers that commit the last two chunks at once, both may see all of them: then it is passed on twice.
    """
    if isinstance(joined, DeadLetter):
        yield joined
    elif isinstance(joined, MediaChunk):
        if joined.saved or joined.dead:
            yield MediaOutcome(joined.media, failed=joined.dead, fresh=False, chunks=joined.chunks)
        elif joined.chunks == 1 or complete(work.committed(joined.media)) == joined.chunks:
            yield _read(joined, work, provenance)
    else:
        work.commit_chunk(joined)
        if joined.chunk.chunks == 1:
            yield assemble([joined], provenance)
        elif complete(work.committed(joined.chunk.media)) == joined.chunk.chunks:
            yield _read(joined.chunk, work, provenance)


def _read(chunk: MediaChunk, work: WorkStore, provenance: Provenance) -> Transcript | DeadLetter:
    read = functools.partial(read_transcript, chunk, work, provenance)
    return attempt("TranscribeSpeech", chunk.media, read, fatal=OSError)
