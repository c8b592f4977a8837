# made by docs/generate.py
"""What editors and type checkers know of the options of `transcribe`, and of the rows of its result."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, TypedDict


class Options(TypedDict, total=False):
    """Every option beside input and output."""

    # take files in folders with these too, beside the known ones (docs/input.md); . takes names without any
    suffixes: Iterable[str]
    # do everything anew, whatever earlier runs left
    overwrite: bool
    # try media again that became dead letters
    retry_failed: bool
    # keep media, and their files, that are not in the input any more
    keep_missing: bool
    # stop with exit code 1 when more media than this number, or this share such as 0.05, fail in this run
    max_failures: float
    # media longer than about this are cut into chunks for several workers; 0 cuts none
    chunk_minutes: float
    # number (from 0) or language as the container tags it (hin); the first one if empty
    audio_track: str
    # split: transcribe each channel on its own, as of a call with a speaker on each
    channels: Literal["mix", "split"]
    # media decoded at once
    decode_ahead: int
    # seconds without a byte from the decoder
    decode_timeout_s: float
    # longer media are dead letters
    max_media_hours: float
    # longest window in seconds; 0 is what the model declares
    max_window_s: float
    # probability from which a frame is speech
    vad_threshold: float
    # what runs the model: whisper is transformers with torch, faster-whisper is CTranslate2
    engine: Literal["whisper", "faster-whisper"]
    # a Whisper checkpoint of transformers or CTranslate2: id on the Hugging Face hub, folder, or `demo` for the one
    # in the package, which knows a small vocabulary in synthetic voices
    model: str | os.PathLike[str]
    # branch, tag or commit on the hub
    model_revision: str
    # language of all media, such as hi; found if empty
    language: str
    # the languages to choose from; all if none
    languages: Iterable[str]
    # cuda, cuda:1, mps or cpu
    device: str
    # of --engine whisper
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    # of --engine faster-whisper: default is the weights' own or the nearest that the device has, auto the fastest
    # that it has
    compute_type: Literal[
        "default",
        "auto",
        "int8",
        "int8_float32",
        "int8_float16",
        "int8_bfloat16",
        "int16",
        "float16",
        "bfloat16",
        "float32",
    ]
    # of --engine faster-whisper, for each of --num_workers; 0 is what the machine allows
    cpu_threads: int
    # of --engine faster-whisper: batches at once in a process
    num_workers: int
    # windows at once; 0 is by the device's memory
    batch_size: int
    # no-speech probability from which an unsure window is silent
    no_speech_threshold: float
    # mean log probability of the tokens below which a text is unsure
    logprob_threshold: float
    # a window's text that zlib packs better than this is a loop if it repeats itself in a row; above twice this it
    # always is
    compression_ratio_threshold: float
    # a phrase that comes more often than this in a row is a loop
    max_repeats: int
    # words per second of speech above which a window's text is too dense
    max_words_per_s: float
    # characters per second of speech above which a window's text is too dense
    max_chars_per_s: float
    # words per second of speech below which a window's text is too sparse, if its characters are too few
    min_words_per_s: float
    # characters per second of speech below which a window's text is too sparse, if its words are too few
    min_chars_per_s: float
    # language to translate to, such as en
    translate_to: str
    # whisper: the model itself, into English; openai: any OpenAI-compatible server, key in OPENAI_API_KEY; whisper
    # for English and openai for others if not given
    translator: Literal["whisper", "openai", "none"]
    # model that the server is asked for
    translate_model: str
    # address of the server; OpenAI's own if empty
    openai_base_url: str
    # media translated at once
    translate_concurrency: int
    # files for each recording
    formats: Iterable[Literal["json", "srt", "vtt", "txt"]]
    # keep each recording's audio as a small .opus beside its text, so that the report can play it
    keep_audio: bool
    # Parquet files in each table
    num_shards: int
    # sets any flag; flags on the command line win
    config: str | os.PathLike[str]
    # where the graph runs: DirectRunner, FlinkRunner (docs/flink.md) or DataflowRunner (docs/dataflow.md)
    runner: str
    # leave the job to its cluster once it runs there, and end with 0
    no_wait: bool
    # of the workers that run the model; l4 if not given. See docs/dataflow.md
    dataflow_gpu: Literal["t4", "l4", "a100", "a100-80gb", "h100", "none"]
    # serve the run's figures to Prometheus at this port; on a cluster each worker process serves its own, at this
    # port or the first free one of the nine behind it; 0 serves none: see docs/monitoring.md
    metrics_port: int


class TranscriptSegment(TypedDict):
    """A timed piece of a transcript."""

    # seconds from the start of the recording
    start: float
    # seconds from the start of the recording
    end: float
    # what was said
    text: str
    # in the translation language; null where there is none
    translation: str | None
    # code of the language spoken, such as hi
    language: str
    # null until something fills it
    speaker: str | None
    # from 0, with `--channels split`; else null
    channel: int | None
    # mean log probability of the tokens of the window it came from
    avg_logprob: float | None
    # probability that the window holds no speech
    no_speech_prob: float | None


class TranslatedSegment(TypedDict):
    """A timed piece of a translation."""

    # seconds from the start of the recording
    start: float
    # seconds from the start of the recording
    end: float
    # what was said
    text: str


class TranscriptProblem(TypedDict):
    """What went wrong inside a recording."""

    # media, window N or cue N
    where: str
    # stable code
    code: str
    # what it means
    message: str


class TranscriptRow(TypedDict):
    """A row of transcripts."""

    # path relative to the input it was found under, or the manifest's id
    id: str
    # where the recording is
    uri: str
    # hash of the URI
    media_id: str
    # changes when the content does
    version: str
    # length of the decoded audio
    duration_sec: float
    # where the recording begins in its file, for a part of one; null for a file
    offset_sec: float | None
    # of the source, in Hz
    sampling_rate: int
    # of the source
    channels: int
    # of the source's audio, as ffmpeg names it
    codec: str
    # code of the language spoken longest; null where nothing was said
    language: str | None
    # mean over the windows in that language
    language_probability: float | None
    # the whole text
    transcription: str
    # the whole text in the translation language
    translation: str | None
    # code of the translation language
    translation_language: str | None
    # the timed pieces of the text
    segments: list[TranscriptSegment]
    # the timed pieces of the translation; a model that translates speech cuts it in its own way
    translated_segments: list[TranslatedSegment]
    # audio tokens; null until something fills it
    tokens: list[int] | None
    # what the audio tokens are of; null until something fills it
    tokens_codec: str | None
    # mean log probability of the tokens, weighted by length
    avg_logprob: float | None
    # mean over the windows, weighted by length
    no_speech_prob: float | None
    # of the text; high where it repeats itself
    compression_ratio: float | None
    # seconds of speech found in the audio
    speech_sec: float
    # share of the declared length that could be decoded
    coverage: float
    # pieces that the model saw
    windows: int
    # windows that were inferred again
    retries: int
    # wall-clock time of decoding and finding speech
    decode_sec: float
    # this recording's share of the wall-clock time of inference
    infer_sec: float
    # what ran the model
    engine: str
    # the model
    model: str
    # ok, partial (see problems) or empty (nothing said)
    status: str
    # what went wrong inside the recording
    problems: list[TranscriptProblem]


class SegmentRow(TypedDict):
    """A row of segments."""

    # path relative to the input it was found under, or the manifest's id
    id: str
    # hash of the URI
    media_id: str
    # from 0, by time
    index: int
    # seconds from the start of the recording
    start: float
    # seconds from the start of the recording
    end: float
    # what was said
    text: str
    # in the translation language; null where there is none
    translation: str | None
    # code of the language spoken, such as hi
    language: str
    # null until something fills it
    speaker: str | None
    # from 0, with `--channels split`; else null
    channel: int | None
    # mean log probability of the tokens of the window it came from
    avg_logprob: float | None
    # probability that the window holds no speech
    no_speech_prob: float | None


class DeadLetterRow(TypedDict):
    """A row of dead_letters."""

    # path relative to the input it was found under, or the manifest's id
    id: str
    # where the recording is
    uri: str
    # hash of the URI
    media_id: str
    # changes when the content does
    version: str
    # where it failed
    step: str
    # stable code; docs/failures.md lists them
    code: str
    # what to do about it
    message: str
    # the error's own words
    detail: str
    # whether the same file may succeed on another try
    retryable: bool
