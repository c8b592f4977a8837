"""The columns of the Parquet dataset, and the rows that records make in it.

Each field's description stands in its metadata; docs/schema.md is generated from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa

from transforms.records import DeadLetter, MediaFile, Transcript

SCHEMA_VERSION = 1


def _field(name: str, kind: pa.DataType, description: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable, {"description": description})


_SEGMENT = [
    _field("start", pa.float64(), "seconds from the start of the recording", False),
    _field("end", pa.float64(), "seconds from the start of the recording", False),
    _field("text", pa.string(), "what was said", False),
    _field("translation", pa.string(), "in the translation language; null where there is none"),
    _field("language", pa.string(), "code of the language spoken, such as hi", False),
    _field("speaker", pa.string(), "null until something fills it"),
    _field("channel", pa.int32(), "from 0, with `--channels split`; else null"),
    _field("avg_logprob", pa.float64(), "mean log probability of the tokens of the window it came from"),
    _field("no_speech_prob", pa.float64(), "probability that the window holds no speech"),
]
_PROBLEM = [
    _field("where", pa.string(), "media, window N or cue N", False),
    _field("code", pa.string(), "stable code", False),
    _field("message", pa.string(), "what it means", False),
]
_MEDIA = [
    _field("id", pa.string(), "path relative to the input it was found under, or the manifest's id", False),
    _field("uri", pa.string(), "where the recording is", False),
    _field("media_id", pa.string(), "hash of the URI", False),
    _field("version", pa.string(), "changes when the content does", False),
]

TRANSCRIPTS = pa.schema(
    [
        *_MEDIA,
        _field("duration_sec", pa.float64(), "length of the decoded audio", False),
        _field(
            "offset_sec", pa.float64(), "where the recording begins in its file, for a part of one; null for a file"
        ),
        _field("sampling_rate", pa.int32(), "of the source, in Hz", False),
        _field("channels", pa.int32(), "of the source", False),
        _field("codec", pa.string(), "of the source's audio, as ffmpeg names it", False),
        _field("language", pa.string(), "code of the language spoken longest; null where nothing was said"),
        _field("language_probability", pa.float64(), "mean over the windows in that language"),
        _field("transcription", pa.string(), "the whole text", False),
        _field("translation", pa.string(), "the whole text in the translation language"),
        _field("translation_language", pa.string(), "code of the translation language"),
        _field("segments", pa.list_(pa.struct(_SEGMENT)), "the timed pieces of the text", False),
        _field(
            "translated_segments",
            pa.list_(pa.struct(_SEGMENT[:3])),
            "the timed pieces of the translation; a model that translates speech cuts it in its own way",
            False,
        ),
        _field("tokens", pa.list_(pa.int16()), "audio tokens; null until something fills it"),
        _field("tokens_codec", pa.string(), "what the audio tokens are of; null until something fills it"),
        _field("avg_logprob", pa.float64(), "mean log probability of the tokens, weighted by length"),
        _field("no_speech_prob", pa.float64(), "mean over the windows, weighted by length"),
        _field("compression_ratio", pa.float64(), "of the text; high where it repeats itself"),
        _field("speech_sec", pa.float64(), "seconds of speech found in the audio", False),
        _field("coverage", pa.float64(), "share of the declared length that could be decoded", False),
        _field("windows", pa.int32(), "pieces that the model saw", False),
        _field("retries", pa.int32(), "windows that were inferred again", False),
        _field("decode_sec", pa.float64(), "wall-clock time of decoding and finding speech", False),
        _field("infer_sec", pa.float64(), "this recording's share of the wall-clock time of inference", False),
        _field("engine", pa.string(), "what ran the model", False),
        _field("model", pa.string(), "the model", False),
        _field("status", pa.string(), "ok, partial (see problems) or empty (nothing said)", False),
        _field("problems", pa.list_(pa.struct(_PROBLEM)), "what went wrong inside the recording", False),
    ],
    {"schema_version": str(SCHEMA_VERSION)},
)

SEGMENTS = pa.schema(
    [
        *_MEDIA[:3:2],
        _field("index", pa.int32(), "from 0, by time", False),
        *_SEGMENT,
    ],
    {"schema_version": str(SCHEMA_VERSION)},
)

DEAD_LETTERS = pa.schema(
    [
        *_MEDIA,
        _field("step", pa.string(), "where it failed", False),
        _field("code", pa.string(), "stable code; docs/failures.md lists them", False),
        _field("message", pa.string(), "what to do about it", False),
        _field("detail", pa.string(), "the error's own words", False),
        _field("retryable", pa.bool_(), "whether the same file may succeed on another try", False),
    ],
    {"schema_version": str(SCHEMA_VERSION)},
)


def transcript_row(transcript: Transcript) -> dict[str, Any]:
    """One row of the transcripts table."""
    media, audio = transcript.media, transcript.audio
    translated = transcript.translated_segments
    return {
        **_identity(media),
        "duration_sec": audio.duration_s,
        "offset_sec": media.start_s if media.is_part else None,
        "sampling_rate": audio.sampling_rate_hz,
        "channels": audio.channels,
        "codec": audio.codec,
        "language": transcript.language or None,
        "language_probability": transcript.language_probability if transcript.language else None,
        "transcription": transcript.text,
        "translation": transcript.translation,
        "translation_language": transcript.translation_language or None,
        "segments": [segment._asdict() for segment in transcript.segments],
        "translated_segments": [{"start": s.start, "end": s.end, "text": s.text} for s in translated],
        "tokens": None,
        "tokens_codec": None,
        "avg_logprob": transcript.avg_logprob,
        "no_speech_prob": transcript.no_speech_prob,
        "compression_ratio": compression_ratio(transcript.text),
        "speech_sec": audio.speech_s,
        "coverage": transcript.coverage,
        "windows": transcript.windows,
        "retries": 0,
        "decode_sec": audio.decode_s,
        "infer_sec": transcript.infer_s,
        "engine": transcript.engine,
        "model": transcript.model,
        "status": transcript.status,
        "problems": [problem._asdict() for problem in transcript.problems],
    }


def segment_rows(transcript: Transcript) -> list[dict[str, Any]]:
    """One row of the segments table for each segment."""
    media = {"id": utf8(transcript.media.id), "media_id": transcript.media.media_id}
    return [{**media, "index": i, **segment._asdict()} for i, segment in enumerate(transcript.segments)]


def dead_letter_row(letter: DeadLetter) -> dict[str, Any]:
    """One row of the dead letters table."""
    return {
        **_identity(letter.media),
        "step": letter.step,
        "code": letter.code,
        "message": letter.message,
        "detail": utf8(letter.detail),
        "retryable": letter.retryable,
    }


def _identity(media: MediaFile) -> dict[str, str]:
    """What both tables say of which recording a row is about."""
    return {
        "id": utf8(media.id),
        "uri": utf8(media.uri),
        "media_id": media.media_id,
        "version": media.version,
    }


def compression_ratio(text: str) -> float | None:
    """UTF-8 size over zlib size of the text, as openai/whisper counts it: above 2.4 it repeats itself."""
    data = text.encode("utf-8", "backslashreplace")
    return round(len(data) / len(zlib.compress(data)), 3) if data else None


def utf8(name: str) -> str:
    """A text that Parquet can hold: bytes of a name that are no UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


class Table(NamedTuple):
    """One table of the dataset: a folder of Parquet shards, each sorted by the id of the recordings."""

    schema: pa.Schema
    rows: Callable[[Transcript | DeadLetter], list[dict[str, Any]]]  # of one recording, [] where it has none here


def _transcripts(outcome: Transcript | DeadLetter) -> list[dict[str, Any]]:
    return [transcript_row(outcome)] if isinstance(outcome, Transcript) else []


def _segments(outcome: Transcript | DeadLetter) -> list[dict[str, Any]]:
    return segment_rows(outcome) if isinstance(outcome, Transcript) else []


def _dead_letters(outcome: Transcript | DeadLetter) -> list[dict[str, Any]]:
    return [dead_letter_row(outcome)] if isinstance(outcome, DeadLetter) else []


TABLES = {  # a new table is one line here
    "transcripts": Table(TRANSCRIPTS, _transcripts),
    "segments": Table(SEGMENTS, _segments),
    "dead_letters": Table(DEAD_LETTERS, _dead_letters),
}
