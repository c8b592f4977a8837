"""The records that flow through the pipeline, in the order in which they appear.

    MediaFile → MediaChunk → SpeechWindow → WindowResult → ChunkTranscript → Transcript → MediaOutcome

A recording that cannot be done becomes a `DeadLetter`, which rides the same chain to its end: inside a window or a
result up to TranscribeSpeech, in place of the transcript behind it. So every recording has exactly one outcome.

They are plain NamedTuples and deliberately not registered with Beam's RowCoder: a RowCoder gives workers in other
processes a generated class without these methods. Times are seconds from the start of the recording; audio is int16
little-endian PCM, mono, 16 000 Hz, and never crosses a shuffle.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

SAMPLE_RATE_HZ = 16_000
BYTES_PER_SAMPLE = 2
LARGEST_INT = 2**53  # that every reader of JSON takes for what it is

T = TypeVar("T")
Name = Annotated[str, "may hold bytes that are no UTF-8, each as a lone surrogate"]


class MediaFile(NamedTuple):
    """One input file, as listed."""

    media_id: str  # hash of the canonical URI
    # path relative to the input it was found under, or the manifest's id
    id: Name
    uri: Name
    version: str  # changes when the content does
    size_bytes: int = 0
    language: str = ""  # forced by a manifest; "" where it is to be found
    # what its files are called, unique in the run, with "/" between folders
    name: Name = ""
    # it left the input, and stays in the dataset because the user wants it
    kept: bool = False
    # where the recording begins in its file: a manifest may name a part of one
    start_s: float = 0.0
    length_s: float = 0.0  # of that part; 0 goes on to the end of the file

    @property
    def is_part(self) -> bool:
        return self.start_s > 0 or self.length_s > 0


class DeadLetter(NamedTuple):
    """Why a recording could not be done, and what to do about it."""

    media: MediaFile
    step: str
    code: str  # stable, snake_case: docs/failures.md lists them
    message: str  # tells the user what to do
    detail: Name = ""  # the tail of a decoder's stderr, or the error itself
    retryable: bool = False  # whether the same file may succeed on another try


class Problem(NamedTuple):
    """Something that went wrong inside a recording that still has a transcript."""

    where: str  # "media", "window 3", "cue 12"
    code: str
    message: str


class MediaChunk(NamedTuple):
    """A stretch of one recording and what is missing of it: the unit of planning and of committing."""

    media: MediaFile
    chunk: int = 0
    # of the recording; 0 until it is known, for one that may be long
    chunks: int = 1
    # the decoder may jump to its start: times behind a jump are right to the sample
    seekable: bool = False
    # the names of what the asr layer has of a recording that lacks some
    committed: tuple[str, ...] = ()
    # the asr layer has it: decoding and inference pass it on untouched
    transcribed: bool = False
    saved: bool = False  # its files are written too: only the dataset needs it
    # an earlier run failed on it and kept the letter: only the dataset needs that
    dead: bool = False
    failure: DeadLetter | None = None  # listing it failed

    @property
    def settled(self) -> bool:
        """Whether there is nothing to decode or infer: it passes as a marker."""
        return self.transcribed or self.dead or self.failure is not None


class PlannedMedia(NamedTuple):
    """One row of what a run is to do, kept so that anybody can tell later how far it is."""

    source: str  # the recording in its version, as the layers name it
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
    # wall-clock time that the decoder and the voice activity model took
    decode_s: float
    problems: tuple[Problem, ...] = ()
    lost_s: float = 0.0  # of it, where the file is damaged: silence in its place


class SpeechWindow(NamedTuple):
    """A stretch of audio no longer than the model is good for, cut at pauses.

    The last window of a chunk carries `total` and `audio`. A chunk without anything to infer (silent, transcribed
    before, or failed) is one window with no samples and a total of 0.
    """

    chunk: MediaChunk
    number: int  # from 0, within the chunk
    start_sample: int  # from the start of the recording
    pcm: bytes
    tasks: tuple[str, ...] = ("transcribe",)
    total: int | None = None
    audio: AudioFacts | None = None
    failure: DeadLetter | None = None
    channel: int | None = None  # from 0, where each is transcribed on its own
    pauses: tuple[tuple[int, int], ...] = ()  # its long ones: samples [start, end) from its start

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


class Verdict(NamedTuple):
    """What is wrong with what a model made of one window."""

    code: str  # of a problem: docs/failures.md lists them
    message: str
    again: bool = True  # whether another attempt at the window may do better


class WindowTranscription(NamedTuple):
    """What a model made of one window: `texts` holds a tuple of segments for each task that was asked for.

    The segments' times count from the start of the window.
    """

    texts: dict[str, tuple[Segment, ...]]
    language: str = ""
    language_probability: float = 0.0
    avg_logprob: float | None = None
    no_speech_prob: float | None = 0.0
    truncated: bool = False  # the text ran into the model's token limit
    unmeasured: bool = False  # a figure of the model's was no number
    infer_s: float = 0.0  # this window's share of the wall-clock time of its batch
    error: str = ""
    verdict: Verdict | None = None


class WindowResult(NamedTuple):
    """A window without its audio, and its transcription (None where there was nothing to infer)."""

    window: SpeechWindow
    duration_s: float
    transcription: WindowTranscription | None


class ChunkTranscript(NamedTuple):
    """What inference produced for one chunk: the content of an object of the asr layer."""

    chunk: MediaChunk
    audio: AudioFacts
    windows: tuple[WindowRecord, ...]

    @property
    def failed(self) -> bool:
        """Whether there is speech in it, and none of it could be heard."""
        return bool(self.windows) and all(window.failed for window in self.windows)


class WindowRecord(NamedTuple):
    """One window as it is committed: times from the start of the recording."""

    number: int
    start: float
    end: float
    language: str
    language_probability: float
    avg_logprob: float | None
    no_speech_prob: float | None
    infer_s: float
    texts: dict[str, tuple[Segment, ...]]
    problem: Problem | None = None
    channel: int | None = None

    @property
    def failed(self) -> bool:
        return self.problem is not None and self.problem.code == "engine_failed"


class Transcript(NamedTuple):
    """Everything known of one recording."""

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
    """The record that crosses the shuffle to WriteDataset: the recording, and whether this run did it."""

    media: MediaFile
    failed: bool
    fresh: bool  # done by this run, not by an earlier one
    audio_s: float = 0.0
    chunks: int = 1


MediaResult = Transcript | DeadLetter | MediaOutcome  # an outcome where nothing was left to do


def to_plain(record: Any) -> Any:
    """The record as dicts, lists and scalars that JSON takes, field names as keys."""
    if hasattr(record, "_asdict"):
        return {name: to_plain(value) for name, value in record._asdict().items()}
    if isinstance(record, dict):
        return {key: to_plain(value) for key, value in record.items()}
    if isinstance(record, (list, tuple)):
        return [to_plain(value) for value in record]
    return record


def from_plain(kind: type[T], plain: Any) -> T:
    """The record of this kind that `to_plain` made `plain` of: what was read may be damaged, so all of it is checked.

    Fields that have a default may be missing. Floats are finite, and a `str` is text that UTF-8 can hold.

    Raises:
        ValueError: a field is missing, unknown, or none of its type.
    """
    return cast("T", _reader(cast("Any", kind))(plain))


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """What checks and makes a value of this kind: a record, tuple[X, ...], dict[str, X], X | None or a scalar."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if hasattr(kind, "_fields"):
        return functools.partial(_record, kind, {name: _reader(each) for name, each in _hints(kind).items()})
    if origin is tuple:
        return functools.partial(_tuple, _reader(inner[0]))
    if origin is dict:
        return functools.partial(_dict, _reader(inner[1]))
    if origin in (Union, types.UnionType):
        read = _reader(inner[0])  # the other is None
        return lambda value: None if value is None else read(value)
    if kind is float:
        return _float
    return functools.partial(_scalar, str if origin is Annotated else kind, kind is str)


def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _record(kind: Any, readers: dict[str, Callable[[Any], Any]], value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no {kind.__name__}")
    try:
        return kind(**{name: readers[name](each) for name, each in value.items()})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{_shown(value)} has not the fields of a {kind.__name__}") from error


def _tuple(read: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{_shown(value)} is no list")
    return tuple(map(read, value))


def _dict(read: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no object")
    return {name: read(each) for name, each in value.items()}


def _float(value: Any) -> Any:
    if type(value) is int:
        return _scalar(int, False, value)
    if type(value) is not float or not math.isfinite(value):
        raise ValueError(f"{_shown(value)} is no finite number")
    return value


def _scalar(kind: Any, is_text: bool, value: Any) -> Any:
    if type(value) is not kind:  # exactly: a bool is an int otherwise
        raise ValueError(f"{_shown(value)} is no {kind.__name__}")
    if is_text:
        value.encode()  # a lone surrogate is a ValueError
    if kind is int and abs(value) > LARGEST_INT:
        raise ValueError(f"{_shown(value)} is too large")
    return value


def _shown(value: Any) -> str:
    return type(value).__name__ if isinstance(value, (dict, list, tuple)) else ascii(value)[:80]
