"""Cuts long recordings into chunks that several workers share: their number, and their cut points.

Chunk k begins near k × `chunk_minutes`, at a cut point inside a pause. Both neighbours look for the cut point in the
same samples, so they agree on it without talking to each other, and every word is in one of the two, whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator

import numpy as np

from transforms.dead_letters import MediaError
from transforms.media import ffmpeg
from transforms.media.ffmpeg_command import DecodeRequest, check_track
from transforms.media.ffmpeg_log import StreamInfo
from transforms.media.level import LevelAdjuster
from transforms.media.mix import mixed
from transforms.media.samples import SampleStream
from transforms.media.voice_activity import BLOCK_SAMPLES, FRAME_SAMPLES
from transforms.media.windows import loudness, quietest
from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, MediaChunk, MediaFile
from transforms.storage import Entry, MediaSource, Stores
from transforms.work.store import chunk_name

# around the nominal place, in which the cut point is looked for: somebody pauses in that time
CUT_REGION_S = 30
# decoded before a jump's place and thrown away, until the decoder has what it remembers of the past
RUN_IN_S = 5
# into its file, from which on a part is jumped to where that can be done: decoding so much takes no time
FAR_S = 60
# 32 kbit/s: a file too small to be long at this rate is not looked into
LOWEST_BYTES_PER_S = 4_000
# Where a jump lands is right to the sample in these codecs of these containers (tests/transforms/test_chunks.py).
# Other containers count time in milliseconds (Matroska, FLV), by the bit rate, or anew in each part; and where a
# packet of another codec begins, WAV does not know. Those are decoded from the start.
SAMPLES = re.compile("pcm_")
EXACT = {"wav": SAMPLES, "w64": SAMPLES, "aiff": SAMPLES, "flac": re.compile("flac$")}
EXACT["mov"] = re.compile("pcm_|(?:aac|alac|mp3)$")
SPEECH = 0.35  # probability below which a frame is a pause


Sound = contextlib.AbstractContextManager[tuple[ffmpeg.Decoder, Iterator[bytes]]]  # a decoder, and what it gives


@dataclasses.dataclass(frozen=True)
class ChunkConfig:
    """How long media are cut, and how they are looked into."""

    chunk_minutes: float = 30.0  # 0: no recording is cut
    # number from 0, or language as the container tags it ("hin"); "" is the first
    audio_track: str = ""
    decode_timeout_s: float = 120.0  # without a byte from the decoder
    stores: Stores = dataclasses.field(default_factory=Stores)

    def __post_init__(self) -> None:
        check_track(self.audio_track)
        if self.decode_timeout_s <= 0:
            raise ValueError("decode_timeout_s must be above 0")
        if self.chunk_minutes < 0 or 0 < self.chunk_minutes < 2:
            raise ValueError(f"chunk_minutes is {self.chunk_minutes:g}: give 0, for no chunks, or at least 2")

    @property
    def chunk_samples(self) -> int:
        return round(self.chunk_minutes * 60) * SAMPLE_RATE_HZ

    def may_be_long(self, media: MediaFile) -> bool:
        if media.length_s:
            return 0 < self.chunk_minutes * 60 < media.length_s
        return self.chunk_minutes > 0 and media.size_bytes > self.chunk_minutes * 60 * LOWEST_BYTES_PER_S

    def is_looked_into(self, media: MediaFile) -> bool:
        """Whether to ask the container how long the recording is, and whether the decoder may jump in it."""
        return media.start_s >= FAR_S or self.may_be_long(media)


def chunks_of(media: MediaChunk, config: ChunkConfig) -> list[MediaChunk]:
    """The chunks that are missing of a recording that may be long. One that cannot be looked into is one chunk."""
    count, seekable = 1, False
    with contextlib.suppress(MediaError), opened(media.media, config.stores) as source:
        track, timeout_s = config.audio_track, config.decode_timeout_s
        info = ffmpeg.probe(source.url, source.protocols, track, timeout_s)
        # The last chunk may be half as long again: better than a sliver of its own.
        count = max(1, math.floor(length_s(media.media, info.said_s) / (config.chunk_minutes * 60 or math.inf) + 0.5))
        seekable = is_exact(info)
    all_of_them = [
        media._replace(chunk=number, chunks=count, seekable=seekable, committed=()) for number in range(count)
    ]
    return [chunk for chunk in all_of_them if chunk_name(chunk) not in media.committed]


def length_s(media: MediaFile, of_file_s: float) -> float:
    """The length of the recording, which may be a part of its file, by the file's container; 0 if it is not known."""
    rest_s = max(0.0, of_file_s - media.start_s)
    return min(media.length_s, rest_s or media.length_s) or rest_s


def missing_code(media: MediaFile) -> str:
    """What is said of a recording of which there is no sample."""
    return "no_such_part" if media.start_s else "no_samples"


def is_exact(info: StreamInfo) -> bool:
    """Whether a jump in such a recording is right to the sample."""
    codecs = [EXACT[kind] for kind in info.container.split(",") if kind in EXACT]
    return any(codec.match(info.codec) for codec in codecs)


@contextlib.contextmanager
def opened(media: MediaFile, stores: Stores) -> Iterator[MediaSource]:
    """What a decoder reads the recording from.

    Raises:
        MediaError: it cannot be opened, or has no bytes.
    """
    with contextlib.ExitStack() as stack:
        try:
            entry = Entry(media.uri, media.size_bytes, media.version)
            source = stack.enter_context(stores.serving(media.uri).open_media(entry))
        except OSError as error:
            raise MediaError(
                "missing" if isinstance(error, FileNotFoundError) else "unreadable", str(error)
            ) from error
        if media.size_bytes == 0:
            raise MediaError("empty_file")
        yield source


@contextlib.contextmanager
def sound(
    source: MediaSource, config: ChunkConfig, channels: int, from_s: int
) -> Iterator[tuple[ffmpeg.Decoder, Iterator[bytes]]]:
    """A decoder and its sound in blocks: so many channels as they are, or all in one where that is 0."""

    def start(channels: int) -> ffmpeg.Decoder:
        wanted = DecodeRequest(config.audio_track, from_s, channels=channels)
        return ffmpeg.Decoder(source.url, source.protocols, wanted, config.decode_timeout_s)

    if not channels:
        with mixed(start) as found:
            yield found
        return
    with start(channels) as decoder:
        yield decoder, decoder.blocks(BLOCK_SAMPLES)


def cut_region(cut_point: int, config: ChunkConfig) -> tuple[int, int]:
    """First and last sample + 1, from the start of the recording, of where chunk `cut_point` may begin."""
    middle, half = cut_point * config.chunk_samples, CUT_REGION_S * SAMPLE_RATE_HZ // 2
    return middle - half, middle + half


def jump_s(chunk: MediaChunk, config: ChunkConfig) -> int:
    """Where to begin decoding, in seconds of the file: some way before the chunk, or at the file's start."""
    if not chunk.seekable:
        return 0
    first = cut_region(chunk.chunk, config)[0] if chunk.chunk else 0
    return max(0, (origin(chunk.media) + first) // SAMPLE_RATE_HZ - RUN_IN_S)


def origin(media: MediaFile) -> int:
    """The sample of its file that the recording begins with."""
    return round(media.start_s * SAMPLE_RATE_HZ)


def begin(samples: SampleStream, chunk: MediaChunk, config: ChunkConfig) -> tuple[int, bytes]:
    """The sample that the chunk begins with, and the samples from there on that had to be looked at.

    `samples` begin where `jump_s` says; what comes before the chunk is taken from them.
    """
    before = origin(chunk.media) - jump_s(chunk, config) * SAMPLE_RATE_HZ
    if not chunk.chunk:
        samples.skip(before)
        return 0, b""
    first, last = cut_region(chunk.chunk, config)
    samples.skip(before + first)
    region = samples.take(last - first)
    cut_point = _cut_point(region, first, samples.channels)
    return cut_point, region[(cut_point - first) * samples.width :]


def end_of(chunk: MediaChunk, config: ChunkConfig, sound_from: Callable[[int], Sound], channels: int) -> int | None:
    """Where the next chunk begins, decoded behind the very jump that it begins with; None where nobody jumps.

    A decoder that jumped need not give the same last bits, and the choice may hang on them. Without jumps both
    neighbours decode from the start of the recording and have the same samples.
    """
    if not chunk.seekable or chunk.chunk == chunk.chunks - 1:
        return None
    following = chunk._replace(chunk=chunk.chunk + 1)
    with sound_from(jump_s(following, config)) as (decoder, blocks):
        samples = SampleStream(blocks, channels)
        start, _ = begin(samples, following, config)
        if samples.ended:
            # raises where something outside ended it: the cut point would be another one
            decoder.finish()
    return start


def blocks_of(
    samples: SampleStream, chunk: MediaChunk, config: ChunkConfig, start: int, head: bytes, end: int | None
) -> Iterator[bytes]:
    """The chunk's audio in blocks of BLOCK_SAMPLES (the last may be shorter), from its sample `start` to `end`.

    `head` are its first samples, which `begin` has taken. Without an end, it is the cut point that is found on the
    way, or the last chunk's: all that there is of the recording.
    """
    pieces = _pieces_of(samples, chunk, config, start, head, end)
    return SampleStream(pieces, samples.channels).blocks(BLOCK_SAMPLES)


def _pieces_of(
    samples: SampleStream, chunk: MediaChunk, config: ChunkConfig, start: int, head: bytes, end: int | None
) -> Iterator[bytes]:
    """The chunk's audio in pieces of any size."""
    yield head
    is_last = chunk.chunk == chunk.chunks - 1
    first, last = cut_region(chunk.chunk + 1, config)
    length = round(chunk.media.length_s * SAMPLE_RATE_HZ) or None
    until = length if is_last else first if end is None else end
    at = start + len(head) // samples.width
    while piece := samples.take(BLOCK_SAMPLES if until is None else max(0, min(BLOCK_SAMPLES, until - at))):
        at += len(piece) // samples.width
        yield piece
    if end is None and not is_last:
        region = samples.take(last - first)
        yield region[: (_cut_point(region, first, samples.channels) - first) * samples.width]


def sound_of(media: MediaFile, source: MediaSource, config: ChunkConfig) -> Iterator[bytes]:
    """All the samples of a recording, of all its channels in one.

    Raises:
        MediaError: there are none, or not all that there are.
    """
    chunk, came = MediaChunk(media), False
    if media.start_s >= FAR_S:
        info = ffmpeg.probe(source.url, source.protocols, config.audio_track, config.decode_timeout_s)
        chunk = chunk._replace(seekable=is_exact(info))
    with sound(source, config, 0, jump_s(chunk, config)) as (decoder, pieces):
        samples = SampleStream(pieces)
        begin(samples, chunk, config)
        for block in blocks_of(samples, chunk, config, 0, b"", None):
            came = True
            yield block
        ended_well = decoder.finish()[0] if samples.ended else True
        if not came:
            raise decoder.failure() if not ended_well else MediaError(missing_code(media))


def _cut_point(region: bytes, first: int, channels: int) -> int:
    """The sample of the cut point in a region that begins with the sample `first`.

    It lies between two frames as they are counted from the start of the recording: so a chunk has the frames, and
    with them the windows, that the whole recording has.
    """
    cut_point = first + choose_cut_point(region, channels)
    aligned = cut_point - cut_point % FRAME_SAMPLES
    return aligned if aligned >= first else cut_point


def choose_cut_point(pcm: bytes, channels: int = 1) -> int:
    """The place of the cut point in these samples: the middle of the longest pause, of several the first.

    Where nobody pauses it is the quietest place.
    """
    mono = np.frombuffer(pcm, np.int16).reshape(-1, channels).mean(axis=1).astype(np.int16).tobytes()
    if not mono:
        return 0
    adjuster = LevelAdjuster()
    heard = [adjuster.hear(block)[1] for block in SampleStream([mono]).blocks(BLOCK_SAMPLES)]
    probabilities = np.concatenate([*heard, adjuster.finish()[1]])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], probabilities < SPEECH, [0]]).astype(int)))
    pauses = edges.reshape(-1, 2)
    if len(pauses):
        start, end = pauses[np.argmax(pauses[:, 1] - pauses[:, 0])]
        frame = int(start + end) // 2
    else:
        frame = quietest(probabilities, loudness(mono, len(probabilities)))
    return min(frame * FRAME_SAMPLES, len(mono) // BYTES_PER_SAMPLE)
