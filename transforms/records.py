"""The records that flow through the pipeline, in the order in which they appear.

    MediaFile → MediaChunk → SpeechWindow → WindowResult → ChunkTranscript → Transcript → MediaOutcome

A media that cannot be done becomes a `DeadLetter`, which rides the same chain to its end: inside a window or a
result up to TranscribeSpeech, in place of the transcript behind it. So every media has exactly one outcome.

They are plain NamedTuples and deliberately not registered with Beam's RowCoder: a RowCoder gives workers in other
processes a generated class without these methods. Times are seconds from the start of the media; audio is int16
little-endian PCM, mono, 16 000 Hz, and never crosses a shuffle.
"""

from __future__ import annotations

from typing import Any, NamedTuple

SAMPLE_RATE_HZ = 16_000
BYTES_PER_SAMPLE = 2


class MediaFile(NamedTuple):
    """One input file, as listed."""

    media_id: str  # hash of the canonical URI
    id: str  # path relative to the input it was found under, or the manifest's id
    uri: str
    version: str  # changes when the content does
    size_bytes: int = 0
    language: str = ""  # forced by a manifest; "" where it is to be found
    name: str = ""  # what its files are called, unique in the run, with "/" between folders
    kept: bool = False  # it left the input, and stays in the dataset because the user wants it
    start_s: float = 0.0  # where the media begins in its file: a manifest may name a part of one
    length_s: float = 0.0  # of that part; 0 goes on to the end of the file

    @property
    def is_part(self) -> bool:
        return self.start_s > 0 or self.length_s > 0


class DeadLetter(NamedTuple):
    """Why a media could not be done, and what to do about it."""

    media: MediaFile
    step: str
    code: str  # stable, snake_case: docs/failures.md lists them
    message: str  # tells the user what to do
    detail: str = ""  # the tail of a decoder's stderr, or the error itself
    retryable: bool = False  # whether the same file may succeed on another try


class Problem(NamedTuple):
    """Something that went wrong inside a media that still has a transcript."""

    where: str  # "media", "window 3", "cue 12"
    code: str
    message: str


class MediaChunk(NamedTuple):
    """A stretch of one media and what is missing of it: the unit of planning and of committing."""

    media: MediaFile
    chunk: int = 0
    chunks: int = 1  # of the media; 0 until it is known, for one that may be long
    seekable: bool = False  # the decoder may jump to its start: times behind a jump are right to the sample
    committed: tuple[str, ...] = ()  # "<chunk>-of-<chunks>", what the asr layer has of a media that lacks some
    transcribed: bool = False  # the asr layer has it: decoding and inference pass it on untouched
    saved: bool = False  # its files are written too: only the dataset needs it
    dead: bool = False  # an earlier run failed on it and kept the letter: only the dataset needs that
    failure: DeadLetter | None = None  # listing it failed

    @property
    def settled(self) -> bool:
        """Whether there is nothing to decode or infer: it passes as a marker."""
        return self.transcribed or self.dead or self.failure is not None


class PlannedMedia(NamedTuple):
    """One row of what a run is to do, kept so that anybody can tell later how far it is."""

    source: str  # the media in its version, as the layers name it
    name: str  # hash of its name, and ...
    state: str  # ... the state that its files are in when it is done
    size_bytes: int
    todo: bool  # False where an earlier run did it, or failed on it


class AudioFacts(NamedTuple):
    """What decoding found out about a chunk."""

    duration_s: float  # of the decoded audio
    declared_s: float | None  # what the container claims
    sampling_rate_hz: int  # of the source
    channels: int
    codec: str
    speech_s: float  # inside the windows' speech
    decode_s: float  # wall-clock time that the decoder and the voice activity model took
    problems: tuple[Problem, ...] = ()


class SpeechWindow(NamedTuple):
    """A stretch of audio no longer than the model is good for, cut at pauses.

    The last window of a chunk carries `total` and `audio`. A chunk without anything to infer (silent, transcribed
    before, or failed) is one window with no samples and a total of 0.
    """

    chunk: MediaChunk
    number: int  # from 0, within the chunk
    start_sample: int  # from the start of the media
    pcm: bytes
    tasks: tuple[str, ...] = ("transcribe",)
    total: int | None = None
    audio: AudioFacts | None = None
    failure: DeadLetter | None = None
    channel: int | None = None  # from 0, where each is transcribed on its own

    @property
    def start_s(self) -> float:
        return self.start_sample / SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / BYTES_PER_SAMPLE / SAMPLE_RATE_HZ


class Segment(NamedTuple):
    """A timed piece of text."""

    start: float
    end: float
    text: str
    language: str
    translation: str | None = None
    speaker: str | None = None
    channel: int | None = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


class Heard(NamedTuple):
    """What a model made of one window: `texts` holds a tuple of segments for each task that was asked for.

    The segments' times count from the start of the window.
    """

    texts: dict[str, tuple[Segment, ...]]
    language: str = ""
    language_probability: float = 0.0
    avg_logprob: float | None = None
    no_speech_prob: float = 0.0
    truncated: bool = False  # the text ran into the model's token limit
    infer_s: float = 0.0  # this window's share of the wall-clock time of its batch
    error: str = ""


class WindowResult(NamedTuple):
    """A window without its audio, and what was heard in it (None where there was nothing to infer)."""

    window: SpeechWindow
    duration_s: float
    heard: Heard | None


class ChunkTranscript(NamedTuple):
    """What inference produced for one chunk: the content of an object of the asr layer."""

    chunk: MediaChunk
    audio: AudioFacts
    windows: tuple[WindowRecord, ...]


class WindowRecord(NamedTuple):
    """One window as it is committed: times from the start of the media."""

    number: int
    start: float
    end: float
    language: str
    language_probability: float
    avg_logprob: float | None
    no_speech_prob: float
    infer_s: float
    texts: dict[str, tuple[Segment, ...]]
    problem: Problem | None = None
    channel: int | None = None


class Transcript(NamedTuple):
    """Everything known of one media."""

    media: MediaFile
    audio: AudioFacts
    language: str
    language_probability: float
    segments: tuple[Segment, ...]
    status: str  # "ok", "partial" or "empty"
    coverage: float  # share of the declared duration that was decoded, at most 1
    infer_s: float
    engine: str
    model: str
    windows: int
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    translation_language: str = ""
    translated_segments: tuple[Segment, ...] = ()
    problems: tuple[Problem, ...] = ()
    complete: bool = True  # False where a later run may still add a translation
    chunks: int = 1

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)

    @property
    def translation(self) -> str | None:
        if not self.translation_language:
            return None
        return " ".join(segment.text for segment in self.translated_segments)


class MediaOutcome(NamedTuple):
    """The small record that reaches the dataset: which media, and whether this run did it."""

    media: MediaFile
    failed: bool
    fresh: bool  # done by this run, not by an earlier one
    audio_s: float = 0.0
    chunks: int = 1


def to_plain(record: Any) -> Any:
    """The record as dicts, lists and scalars that JSON takes, field names as keys."""
    if hasattr(record, "_asdict"):
        return {name: to_plain(value) for name, value in record._asdict().items()}
    if isinstance(record, dict):
        return {key: to_plain(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [to_plain(value) for value in record]
    return record
