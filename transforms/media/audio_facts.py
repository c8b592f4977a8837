"""What decoding finds out about the audio of a chunk: how much there is, what is missing, what is wrong with it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

from transforms.dead_letters import MediaError
from transforms.media import ffmpeg
from transforms.media.chunks import missing_code, origin
from transforms.media.ffmpeg_log import StreamInfo
from transforms.media.headers import HEAD_BYTES, READERS, DeclaredSize, declared_size
from transforms.media.level import LevelAdjuster, problems_of
from transforms.media.timeline import Gap
from transforms.records import SAMPLE_RATE_HZ, AudioFacts, MediaChunk, MediaFile, Problem
from transforms.storage import ChangedError, MediaSource, Stores


@dataclasses.dataclass
class Meter:
    """Counts the samples of a stream, and stops one that is longer than allowed, at once if its header says so."""

    max_hours: float
    first: int  # sample of the recording that the stream begins with
    width: int  # bytes of a sample of all channels
    declared_s: Callable[[], float | None]  # asked when the first samples have come
    adjusters: list[LevelAdjuster] = dataclasses.field(default_factory=list)  # one for each channel
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


def facts_of(
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
        MediaError: not one sample of the recording came, or the store did not give every byte.
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
    told, end_s = decoder.stream_info(), (meter.first + meter.samples) / SAMPLE_RATE_HZ
    promise = _promise(chunk.media, stores, told, chunk.media.start_s + end_s) if ended else DeclaredSize()
    damaged = not ended_well or decoder.cut_short() or decoder.gave_up or promise.size_bytes > chunk.media.size_bytes
    # The container's length is that of its longest track: with others, audio may honestly be shorter.
    of_file_s = promise.length_s or told.declared_s if damaged or not told.has_others else None
    length_s = declared_s(chunk.media, of_file_s)
    in_media = [gap._replace(start=gap.start - origin(chunk.media)) for gap in decoder.gaps if damaged]
    lost = [gap for gap in in_media if meter.first <= gap.start < meter.first + meter.samples]
    problems = tuple(map(_damage, lost))
    if ended and ((damaged and not lost) or ffmpeg.is_short(end_s, length_s)):
        problems = (_truncated(chunk.media, end_s, length_s), *problems)
    return AudioFacts(
        duration_s=round(meter.samples / SAMPLE_RATE_HZ, 3),
        declared_s=length_s,
        sampling_rate_hz=told.sampling_rate_hz,
        channels=told.channels,
        codec=told.codec,
        speech_s=round(meter.speech_s, 3),
        decode_s=round(decode_s, 3),
        problems=(*problems, *problems_of(meter.adjusters, meter.speech_s)),
        lost_s=round(sum(gap.samples for gap in lost) / SAMPLE_RATE_HZ, 3),
    )


def _check_whole(source: MediaSource) -> None:
    """Raise MediaError if the store did not give every byte of that version: the audio is incomplete."""
    try:
        source.check()
        if source.error is not None:
            raise source.error
    except ChangedError as error:
        raise MediaError("changed", str(error)) from error
    except OSError as error:
        raise MediaError("store_failed", str(error)) from error


def declared_s(media: MediaFile, of_file_s: float | None) -> float | None:
    """The declared length of the recording: of a part of a file the manifest's, or up to the end of the file."""
    if media.length_s or of_file_s is None:
        return media.length_s or None
    return max(0.0, of_file_s - media.start_s)


def _truncated(media: MediaFile, end_s: float, declared_s: float | None) -> Problem:
    claimed = f" of {declared_s:.1f}" if declared_s else ""
    why = "its file ends before, or is damaged" if media.is_part else "the file is cut short or damaged"
    return Problem("media", "truncated", f"only {end_s:.1f}{claimed} seconds could be decoded: {why}")


def _damage(gap: Gap) -> Problem:
    start_s, end_s = gap.start / SAMPLE_RATE_HZ, (gap.start + gap.samples) / SAMPLE_RATE_HZ
    message = f"nothing could be decoded from {start_s:.1f} to {end_s:.1f} seconds: the file is damaged there"
    return Problem(f"second {start_s:.1f}", "damaged", message)


def _promise(media: MediaFile, stores: Stores, told: StreamInfo, end_s: float) -> DeclaredSize:
    """What the file's own header promises, looked into where ffmpeg tells too little of it."""
    whole = told.declared_s and not ffmpeg.is_short(end_s, told.declared_s) and told.container != "avi"
    if told.container not in READERS or whole:
        return DeclaredSize()
    with contextlib.suppress(OSError):
        head = stores.serving(media.uri).read_range(media.uri, 0, min(HEAD_BYTES, media.size_bytes), media.version)
        return declared_size(head, told.container)
    return DeclaredSize()
