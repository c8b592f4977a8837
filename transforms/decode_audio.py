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
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.transforms.window import GlobalWindows

from transforms.dead_letters import MediaError, attempt
from transforms.dofns.figures import DECODE
from transforms.dofns.metrics import UNWATCHED, StepMetrics, Watch
from transforms.media import ffmpeg
from transforms.media.chunks import (
    ChunkConfig,
    begin,
    blocks_of,
    end_of,
    jump_s,
    missing_code,
    opened,
    origin,
    sound,
)
from transforms.media.ffmpeg_log import Source
from transforms.media.headers import HEAD_BYTES, READERS, Promise, promised
from transforms.media.level import Listener, problems_of
from transforms.media.samples import SampleStream
from transforms.media.timeline import Gap
from transforms.media.windows import Window, WindowConfig, WindowCutter
from transforms.records import (
    SAMPLE_RATE_HZ,
    AudioFacts,
    MediaChunk,
    MediaFile,
    Problem,
    SpeechWindow,
)
from transforms.storage import ChangedError, MediaSource, Stores
from transforms.work.layers import Layers

QUEUE_WINDOWS = 16  # between the decoders and the model: 15 MB of audio at 30 s a window
MOST_CHANNELS = 64  # that are transcribed each on its own

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DecodeConfig:
    """How media are decoded."""

    windows: WindowConfig = dataclasses.field(default_factory=WindowConfig)
    tasks: tuple[str, ...] = ("transcribe",)
    decode_ahead: int = 2  # decoders at once; one core does about 300 hours of audio an hour
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

    layers: Layers
    config: DecodeConfig
    watch: Watch = UNWATCHED

    def expand(self, chunks: beam.PCollection[MediaChunk]) -> beam.PCollection[SpeechWindow]:
        return chunks | "DecodeAhead" >> beam.ParDo(
            DecodeAhead(self.layers, self.config, self.watch)
        ).with_output_types(SpeechWindow)


class DecodeAhead(beam.DoFn):
    """Runs `decode_ahead` decoders into one bounded queue; the bundle's thread takes whatever is ready.

    One queue for all, so that windows of media interleave and no decoder waits for an older one to drain. Memory is
    bounded by the queue and two windows a decoder, whatever the length of the media.
    """

    def __init__(self, layers: Layers, config: DecodeConfig, watch: Watch) -> None:
        self._layers, self._config, self._watch = layers, config, watch

    def setup(self) -> None:
        self._layers.check_reached()
        self._metrics = StepMetrics(DECODE, self._watch)
        self._stop = threading.Event()

    def start_bundle(self) -> None:
        self._stop.set()  # decoders that a failed bundle left behind
        self._stop = threading.Event()
        self._ready: queue.Queue[SpeechWindow] = queue.Queue(QUEUE_WINDOWS)
        self._running = 0

    def process(self, chunk: MediaChunk) -> Iterator[SpeechWindow]:
        self._metrics.count(elements_in=1, begun=not chunk.settled)
        if chunk.settled:
            self._metrics.count(elements_out=1)
            yield SpeechWindow(chunk, 0, 0, b"", total=0, failure=chunk.failure)
            return
        arguments = (chunk, self._layers, self._config, self._ready, self._stop)
        threading.Thread(target=_decode_into, args=arguments, daemon=True).start()
        self._running += 1
        yield from self._take(self._config.decode_ahead - 1)

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(GlobalWindows.windowed_value, self._take(0))

    def teardown(self) -> None:
        self._stop.set()

    def _take(self, leave_running: int) -> Iterator[SpeechWindow]:
        """Windows as they come, until no more than so many decoders are running."""
        while self._running > leave_running:
            window = self._ready.get()
            if window.total is not None:
                self._running -= 1
            self._count(window)
            yield window

    def _count(self, window: SpeechWindow) -> None:
        self._metrics.count(elements_out=1, failed=window.failure is not None)
        if audio := window.audio:
            self._metrics.count(
                chunks=1,
                media=window.chunk.chunk == 0,
                audio_ms=round(audio.duration_s * 1000),
                speech_ms=round(audio.speech_s * 1000),
                work_ms=round(audio.decode_s * 1000),
            )


def _decode_into(
    chunk: MediaChunk, layers: Layers, config: DecodeConfig, ready: queue.Queue[SpeechWindow], stop: threading.Event
) -> None:
    """Decode one chunk into the queue. Whatever happens, its last window arrives, or the bundle has been stopped.

    A runner that tries a bundle again gives chunks that are committed by now: they go on as a marker.
    """
    sent = 0

    def send() -> None:
        nonlocal sent
        if _is_committed(chunk, layers):
            _put(ready, SpeechWindow(chunk._replace(transcribed=True), 0, 0, b"", total=0), stop)
            return
        for window in decode(chunk, config, stop.is_set):
            if not _put(ready, window, stop):
                return
            sent += 1

    letter = attempt("DecodeAudio", chunk.media, send)  # a thread's error would be lost; the letter carries it on
    if letter is not None:
        _put(ready, SpeechWindow(chunk, sent, 0, b"", total=sent + 1, failure=letter), stop)


def _is_committed(chunk: MediaChunk, layers: Layers) -> bool:
    with contextlib.suppress(OSError):  # no fault of the media's; who commits it will tell of a store that stays away
        return layers.has_chunk(chunk)
    return False


def _put(ready: queue.Queue[SpeechWindow], window: SpeechWindow, stop: threading.Event) -> bool:
    """Put the window as soon as there is room; False when the bundle was stopped instead."""
    while not stop.is_set():
        try:
            ready.put(window, timeout=0.2)
            return True
        except queue.Full:
            continue
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
                lambda: _declared_s(chunk.media, decoder.source().declared_s),
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
            audio = _facts(
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


@dataclasses.dataclass
class Meter:
    """Counts the samples of a stream, and stops one that is longer than allowed, at once if its header says so."""

    max_hours: float
    first: int  # sample of the media that the stream begins with
    width: int  # bytes of a sample of all channels
    declared_s: Callable[[], float | None]  # asked when the first samples have come
    listeners: list[Listener] = dataclasses.field(default_factory=list)  # one for each channel
    samples: int = 0
    speech_s: float = 0.0

    def measure(self, pcm: bytes) -> None:
        if not self.samples and (declared_s := self.declared_s()):
            self._check(declared_s * SAMPLE_RATE_HZ)
        self.samples += len(pcm) // self.width
        self._check(self.first + self.samples)

    def _check(self, samples: float) -> None:
        if samples > self.max_hours * 3600 * SAMPLE_RATE_HZ:
            raise MediaError("too_long", f"more than {self.max_hours:g} hours")


def _check_whole(source: MediaSource) -> None:
    """Raise MediaError where the store did not give every byte of that version: what was decoded is no media."""
    try:
        source.check()
        if source.error is not None:
            raise source.error
    except ChangedError as error:
        raise MediaError("changed", str(error)) from error
    except OSError as error:
        raise MediaError("store_failed", str(error)) from error


def _cut(
    blocks: Iterator[bytes], meter: Meter, config: DecodeConfig, channels: int, stopped: Callable[[], bool]
) -> Iterator[tuple[int | None, Window]]:
    """(channel, window) of each window, as they come; the channel is None where all are mixed into one."""
    names = [None] if config.channels == "mix" else list(range(channels))
    streams = [(name, Listener(), WindowCutter(config.windows)) for name in names]
    meter.listeners = [listener for _, listener, _ in streams]
    for block in blocks:
        if stopped():
            return
        meter.measure(block)
        together = np.frombuffer(block, np.int16).reshape(-1, channels)
        for at, (name, listener, cutter) in enumerate(streams):
            heard = listener.hear(together[:, at].tobytes())
            yield from ((name, window) for window in _measured(cutter.feed(*heard), meter))
    for name, listener, cutter in streams:
        left = itertools.chain(cutter.feed(*listener.finish()), cutter.finish())
        yield from ((name, window) for window in _measured(left, meter))


def _measured(windows: Iterator[Window], meter: Meter) -> Iterator[Window]:
    for window in windows:
        meter.speech_s += window.speech_s
        yield window


def _declared_s(media: MediaFile, of_file_s: float | None) -> float | None:
    """How long the media says it is: a part of a file as long as whoever named it says, or up to the file's end."""
    if media.length_s or of_file_s is None:
        return media.length_s or None
    return max(0.0, of_file_s - media.start_s)


def _facts(
    decoder: ffmpeg.Decoder,
    source: MediaSource,
    stores: Stores,
    meter: Meter,
    chunk: MediaChunk,
    ended: bool,
    decode_s: float,
) -> AudioFacts:
    """What decoding found out. `ended` says that the decoder gave all that it had.

    Raises:
        MediaError: not one sample of the media came, or the store did not give every byte.
    """
    ended_well, log = (True, "")
    if ended:
        ended_well, log = decoder.finish()
    else:
        decoder.stop()
    _check_whole(source)
    if not meter.samples and not chunk.chunk:
        if not ended_well:
            raise decoder.failure()
        raise MediaError(missing_code(chunk.media), log)
    told, end_s = decoder.source(), (meter.first + meter.samples) / SAMPLE_RATE_HZ
    promise = _promise(chunk.media, stores, told, chunk.media.start_s + end_s) if ended else Promise()
    damaged = not ended_well or decoder.cut_short() or decoder.gave_up or promise.size_bytes > chunk.media.size_bytes
    # The container's length is that of its longest track: with others, audio may honestly be shorter.
    of_file_s = promise.length_s or told.declared_s if damaged or not told.has_others else None
    declared_s = _declared_s(chunk.media, of_file_s)
    in_media = [gap._replace(start=gap.start - origin(chunk.media)) for gap in decoder.gaps if damaged]
    lost = [gap for gap in in_media if meter.first <= gap.start < meter.first + meter.samples]
    problems = tuple(map(_damage, lost))
    if ended and ((damaged and not lost) or ffmpeg.is_short(end_s, declared_s)):
        problems = (_truncated(chunk.media, end_s, declared_s), *problems)
    return AudioFacts(
        duration_s=round(meter.samples / SAMPLE_RATE_HZ, 3),
        declared_s=declared_s,
        sampling_rate_hz=told.sampling_rate_hz,
        channels=told.channels,
        codec=told.codec,
        speech_s=round(meter.speech_s, 3),
        decode_s=round(decode_s, 3),
        problems=(*problems, *problems_of(meter.listeners, meter.speech_s)),
        lost_s=round(sum(gap.samples for gap in lost) / SAMPLE_RATE_HZ, 3),
    )


def _truncated(media: MediaFile, end_s: float, declared_s: float | None) -> Problem:
    claimed = f" of {declared_s:.1f}" if declared_s else ""
    why = "its file ends before, or is damaged" if media.is_part else "the file is cut short or damaged"
    return Problem("media", "truncated", f"only {end_s:.1f}{claimed} seconds could be decoded: {why}")


def _damage(gap: Gap) -> Problem:
    start_s, end_s = gap.start / SAMPLE_RATE_HZ, (gap.start + gap.samples) / SAMPLE_RATE_HZ
    message = f"nothing could be decoded from {start_s:.1f} to {end_s:.1f} seconds: the file is damaged there"
    return Problem(f"second {start_s:.1f}", "damaged", message)


def _promise(media: MediaFile, stores: Stores, told: Source, end_s: float) -> Promise:
    """What the file's own header promises, looked into where ffmpeg tells too little of it."""
    whole = told.declared_s and not ffmpeg.is_short(end_s, told.declared_s) and told.container != "avi"
    if told.container not in READERS or whole:
        return Promise()
    with contextlib.suppress(OSError):
        head = stores.serving(media.uri).read_range(media.uri, 0, min(HEAD_BYTES, media.size_bytes), media.version)
        return promised(head, told.container)
    return Promise()
