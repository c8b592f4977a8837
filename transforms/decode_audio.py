"""DecodeAudio: MediaChunk → SpeechWindow, one or more for each chunk, the last with the chunk's total.

Runs where the model runs, in the same fused stage, several decoders ahead of it. A silent chunk, one that is
transcribed already and one that cannot be decoded each give one empty window; the last carries the dead letter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator

import apache_beam as beam
import numpy as np

from transforms.dead_letters import MediaError, attempt
from transforms.dofns.base import ThreadedDoFn
from transforms.dofns.figures import DECODE
from transforms.dofns.metrics import UNWATCHED, Watch
from transforms.media import ffmpeg
from transforms.media.audio_facts import Meter, declared_s, facts_of
from transforms.media.chunks import ChunkConfig, begin, blocks_of, end_of, jump_s, opened, sound
from transforms.media.level import LevelAdjuster
from transforms.media.samples import SampleStream
from transforms.media.windows import Window, WindowConfig, WindowCutter
from transforms.records import DeadLetter, MediaChunk, SpeechWindow
from transforms.storage import MediaSource
from transforms.work.store import WorkStore

# between the decoders and the model: 15 MB of audio at 30 s a window
QUEUE_WINDOWS = 16
MOST_CHANNELS = 64  # that are transcribed each on its own

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
    """How media are decoded."""

    windows: WindowConfig = dataclasses.field(default_factory=WindowConfig)
    tasks: tuple[str, ...] = ("transcribe",)
    # decoders at once; one core does about 300 hours of audio an hour
    decode_ahead: int = 2
    channels: str = "mix"  # or "split": each channel is transcribed on its own
    max_media_hours: float = 24.0
    chunks: ChunkConfig = dataclasses.field(default_factory=ChunkConfig)

    def __post_init__(self) -> None:
        if self.decode_ahead < 1:
            raise ValueError(f"decode_ahead is {self.decode_ahead}: at least one decoder is needed")
        if self.max_media_hours <= 0:
            raise ValueError("max_media_hours must be above 0")
        if self.channels not in ("mix", "split"):
            raise ValueError(f"channels is {self.channels}: choose mix or split")


@dataclasses.dataclass
class DecodeAudio(beam.PTransform):
    """Cut the speech of media into windows, a few media at a time, in the order in which they come ready."""

    work: WorkStore
    config: DecodeConfig
    watch: Watch = UNWATCHED

    def expand(self, chunks: beam.PCollection[MediaChunk]) -> beam.PCollection[SpeechWindow]:
        return chunks | "DecodeAhead" >> beam.ParDo(
            DecodeAhead(self.work, self.config, self.watch)
        ).with_output_types(SpeechWindow)


class DecodeAhead(ThreadedDoFn[DecodeConfig, SpeechWindow, SpeechWindow]):
    """Runs `decode_ahead` decoders; windows go on as they come, so those of several media interleave.

    Memory is bounded by the room and two windows a decoder, whatever the length of the recording.
    """

    step, room = DECODE, QUEUE_WINDOWS

    def threads(self) -> int:
        return self._config.decode_ahead

    def setup(self) -> None:
        self._work.check_shared()
        super().setup()

    def process(self, chunk: MediaChunk) -> Iterator[SpeechWindow]:
        self._metrics.count(elements_in=1, begun=not chunk.settled)
        if chunk.settled:
            self._metrics.count(elements_out=1)
            yield SpeechWindow(chunk, 0, 0, b"", total=0, failure=chunk.failure)
            return
        threads = self._threads
        threads.begin(windows_of, chunk, self._work, self._config, threads.stopped)
        # The next decoder begins before more is taken: who takes a window waits until the model has it.
        yield from map(self.counted, threads.until(self._config.decode_ahead - 1))

    def counted(self, window: SpeechWindow) -> SpeechWindow:
        self._metrics.count(elements_out=1, failed=window.failure is not None)
        if audio := window.audio:
            self._metrics.count(
                chunks=1,
                media=window.chunk.chunk == 0,
                audio_ms=round(audio.duration_s * 1000),
                speech_ms=round(audio.speech_s * 1000),
            )
        return window


def windows_of(
    chunk: MediaChunk, work: WorkStore, config: DecodeConfig, stopped: Callable[[], bool]
) -> Iterator[SpeechWindow]:
    """The windows of a chunk, of which the last is one whatever happens: a dead letter where it cannot be decoded."""
    windows, sent = _windows(chunk, work, config, stopped), 0
    while window := attempt("DecodeAudio", chunk.media, lambda: next(windows, None)):
        if isinstance(window, DeadLetter):
            yield SpeechWindow(chunk, sent, 0, b"", total=sent + 1, failure=window)
            return
        yield window
        sent += 1


def _windows(
    chunk: MediaChunk, work: WorkStore, config: DecodeConfig, stopped: Callable[[], bool]
) -> Iterator[SpeechWindow]:
    """A runner that tries a bundle again gives chunks that are committed by now: they go on as a marker."""
    if _is_committed(chunk, work):
        yield SpeechWindow(chunk._replace(transcribed=True), 0, 0, b"", total=0)
    else:
        yield from decode(chunk, config, stopped)


def _is_committed(chunk: MediaChunk, work: WorkStore) -> bool:
    # no fault of the recording's; who commits it will tell of a store that stays away
    with contextlib.suppress(OSError):
        return work.has_chunk(chunk)
    return False


def decode(
    chunk: MediaChunk, config: DecodeConfig, stopped: Callable[[], bool] = lambda: False
) -> Iterator[SpeechWindow]:
    """The windows of a chunk in order, the last with the total and the facts about the audio.

    A chunk without speech gives one window with no samples and a total of 0. A decoder that something outside ends is
    started once more, and goes on behind the windows that are out already: they come out the same.

    Raises:
        MediaError: there is no audio to be had.
    """
    sent, killed = 0, 0
    while True:
        try:
            for window in itertools.islice(_decoded(chunk, config, stopped), sent, None):
                yield window
                sent += 1
            return
        except MediaError as error:
            killed += 1
            if error.code != "decoder_killed" or killed > 1:
                raise
            log.warning("%s: something outside ended its decoder; once more", chunk.media.media_id)


def _decoded(chunk: MediaChunk, config: DecodeConfig, stopped: Callable[[], bool]) -> Iterator[SpeechWindow]:
    """One attempt at decoding a chunk."""
    started = time.monotonic()
    with opened(chunk.media, config.chunks.stores) as source:
        channels = _channels(source, config)
        sound_from = functools.partial(sound, source, config.chunks, channels if config.channels == "split" else 0)
        end = end_of(chunk, config.chunks, sound_from, channels)
        with sound_from(jump_s(chunk, config.chunks)) as (decoder, pieces):
            samples = SampleStream(pieces, channels)
            first, head = begin(samples, chunk, config.chunks)
            held, number = None, 0
            meter = Meter(
                config.max_media_hours,
                first,
                samples.width,
                lambda: declared_s(chunk.media, decoder.stream_info().declared_s),
            )
            blocks = blocks_of(samples, chunk, config.chunks, first, head, end)
            for channel, window in _cut(blocks, meter, config, channels, stopped):
                if held:
                    yield held
                at = first + window.start_sample
                held = SpeechWindow(
                    chunk, number, at, window.pcm, config.tasks, channel=channel, pauses=window.pauses
                )
                number += 1
            if stopped():
                return
            audio = facts_of(
                decoder, source, config.chunks.stores, meter, chunk, samples.ended, time.monotonic() - started
            )
    last = held or SpeechWindow(chunk, 0, 0, b"", config.tasks)
    yield last._replace(total=number, audio=audio)


def _channels(source: MediaSource, config: DecodeConfig) -> int:
    """How many streams of audio to make of the track: one, or one of each of its channels."""
    if config.channels == "mix":
        return 1
    told = ffmpeg.probe(source.url, source.protocols, config.chunks.audio_track, config.chunks.decode_timeout_s)
    if told.channels > MOST_CHANNELS:
        raise MediaError("too_many_channels", f"{told.channels} channels, and at most {MOST_CHANNELS} can be split")
    return max(1, told.channels)


def _cut(
    blocks: Iterator[bytes], meter: Meter, config: DecodeConfig, channels: int, stopped: Callable[[], bool]
) -> Iterator[tuple[int | None, Window]]:
    """(channel, window) of each window, as they come; the channel is None where all are mixed into one."""
    names = [None] if config.channels == "mix" else list(range(channels))
    streams = [(name, LevelAdjuster(), WindowCutter(config.windows)) for name in names]
    meter.adjusters = [adjuster for _, adjuster, _ in streams]
    for block in blocks:
        if stopped():
            return
        meter.measure(block)
        together = np.frombuffer(block, np.int16).reshape(-1, channels)
        for at, (name, adjuster, cutter) in enumerate(streams):
            heard = adjuster.hear(together[:, at].tobytes())
            yield from ((name, window) for window in _measured(cutter.feed(*heard), meter))
    for name, adjuster, cutter in streams:
        left = itertools.chain(cutter.feed(*adjuster.finish()), cutter.finish())
        yield from ((name, window) for window in _measured(left, meter))


def _measured(windows: Iterator[Window], meter: Meter) -> Iterator[Window]:
    for window in windows:
        meter.speech_s += window.speech_s
        yield window
