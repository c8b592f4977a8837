"""Every option, once: the flags, the config file, the types of the call from Python, the docs, the form of a template
and what each layer's fingerprint covers are made from this table.

What is not listed here must be a flag of Beam's own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from runners.dataflow.machines import DEFAULT_GPU, GPUS
from transforms.engines.registry import ENGINES
from transforms.translators.registry import TRANSLATORS

DEFAULT_MODEL = "openai/whisper-large-v3"
FORMATS = ("json", "srt", "vtt", "txt")
# CTranslate2's
COMPUTE_TYPES = (
    "default", "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16",
    "float32",
)  # fmt: skip
DESCRIPTION = "Turn audio and video into transcripts, translations, subtitles and a Parquet dataset."
EPILOG = (
    "Flags of Beam's own, such as --direct_num_workers or --flink_master, may follow. Exit codes: 0 all is done, "
    "1 the run failed, 2 wrong usage, 3 finished with dead letters. A run that was stopped goes on where it was when "
    "it is started again. Other commands: beam-pipeline status, failures, diff and prune, each with --help."
)


@dataclasses.dataclass(frozen=True)
class Option:
    """One option, whichever way it is given."""

    name: str
    help: str = ""
    default: Any = ""
    kind: type = str  # of a value: str, int, float; bool is a switch
    several: bool = False  # takes one value or more
    choices: tuple[str, ...] = ()
    required: bool = False
    metavar: str = ""
    is_place: bool = False  # a path or URI: it says where, and is no setting
    # the first layer that another value makes anew: "asr", "translation", "saved"; "" for none
    layer: str = ""
    # the derived setting by which it reaches that layer's fingerprint; "" for its own value
    through: str = ""
    # outputs were begun before it was an option: at its default it is in no fingerprint
    later: bool = False
    engine: str = ""  # the only one that has it; "" for all
    terminal: bool = False  # of use on a terminal alone: no form of a template has it

    @property
    def is_switch(self) -> bool:
        return self.kind is bool

    @property
    def adds_up(self) -> bool:
        """Whether it may be given several times: one with a default would add to that."""
        return self.several and self.required

    def is_default(self, value: Any) -> bool:
        return value == (list(self.default) if self.several else self.default)


STEPS: dict[str, tuple[Option, ...]] = {
    "CollectMedia": (
        Option(
            "input",
            "media files, folders (searched through), patterns (quoted) and manifests (.txt .csv .tsv .json .jsonl "
            ".ndjson .m3u .parquet: see docs/manifests.md); may be given several times",
            several=True, required=True, metavar="MEDIA", is_place=True,
        ),
        Option(
            "suffixes",
            "take files in folders with these too, beside the known ones (docs/input.md); . takes names without any",
            (), several=True, metavar=".XYZ",
        ),
    ),
    "PlanWork": (
        Option("overwrite", "do everything anew, whatever earlier runs left", False, bool),
        Option("retry_failed", "try media again that became dead letters", False, bool),
        Option("keep_missing", "keep media, and their files, that are not in the input any more", False, bool),
        Option(
            "max_failures",
            "stop with exit code 1 when more media than this number, or this share such as 0.05, fail in this run",
            math.inf, float, metavar="N",
        ),
        Option(
            "chunk_minutes",
            "media longer than about this are cut into chunks for several workers; 0 cuts none",
            30.0, float, metavar="N", layer="asr",
        ),
        Option("dry_run", "list what would be done, and do nothing", False, bool, terminal=True),
        Option("json", "with --dry_run: print one JSON document instead of lines", False, bool, terminal=True),
    ),
    "DecodeAudio": (
        Option(
            "audio_track",
            "number (from 0) or language as the container tags it (hin); the first one if empty",
            layer="asr",
        ),
        Option(
            "channels",
            "split: transcribe each channel on its own, as of a call with a speaker on each",
            "mix", choices=("mix", "split"), layer="asr",
        ),
        Option("decode_ahead", "media decoded at once", 2, int),
        Option("decode_timeout_s", "seconds without a byte from the decoder", 120.0, float),
        Option("max_media_hours", "longer media are dead letters", 24.0, float),
        Option(
            "max_window_s", "longest window in seconds; 0 is what the model declares",
            0.0, float, layer="asr", through="windows",
        ),
        Option(
            "vad_threshold", "probability from which a frame is speech", 0.5, float, layer="asr", through="windows"
        ),
    ),
    "TranscribeSpeech": (
        Option(
            "engine", "what runs the model: whisper is transformers with torch, faster-whisper is CTranslate2",
            "whisper", choices=tuple(ENGINES), layer="asr",
        ),
        Option(
            "model",
            "a Whisper checkpoint of transformers or CTranslate2: id on the Hugging Face hub, folder, or `demo` for "
            "the one in the package, which knows a small vocabulary in synthetic voices",
            DEFAULT_MODEL, layer="asr", through="model",
        ),
        Option("model_revision", "branch, tag or commit on the hub", layer="asr", through="model"),
        Option("language", "language of all media, such as hi; found if empty", layer="asr"),
        Option(
            "languages", "the languages to choose from; all if none",
            (), several=True, metavar="CODE", layer="asr",
        ),
        Option("device", "cuda, cuda:1, mps or cpu", "auto"),
        Option(
            "dtype", "of --engine whisper", "auto", choices=("auto", "float32", "bfloat16", "float16"),
            engine="whisper",
        ),
        Option(
            "compute_type",
            "of --engine faster-whisper: default is the weights' own or the nearest that the device has, auto the "
            "fastest that it has",
            "default", choices=COMPUTE_TYPES, layer="asr", engine="faster-whisper",
        ),
        Option(
            "cpu_threads", "of --engine faster-whisper, for each of --num_workers; 0 is what the machine allows",
            0, int, engine="faster-whisper",
        ),
        Option(
            "num_workers", "of --engine faster-whisper: batches at once in a process",
            1, int, engine="faster-whisper",
        ),
        Option("batch_size", "windows at once; 0 is by the device's memory", 0, int),
        Option(
            "no_speech_threshold", "no-speech probability from which an unsure window is silent",
            0.6, float, layer="asr",
        ),
        Option(
            "logprob_threshold", "mean log probability of the tokens below which a text is unsure",
            -1.0, float, layer="asr", later=True,
        ),
        Option(
            "compression_ratio_threshold",
            "a window's text that zlib packs better than this is a loop if it repeats itself in a row; above "
            "twice this it always is",
            2.4, float, layer="asr", later=True,
        ),
        Option(
            "max_repeats", "a phrase that comes more often than this in a row is a loop",
            5, int, layer="asr", later=True,
        ),
        Option(
            "max_words_per_s", "words per second of speech above which a window's text is too dense",
            10.0, float, layer="asr", later=True,
        ),
        Option(
            "max_chars_per_s", "characters per second of speech above which a window's text is too dense",
            40.0, float, layer="asr", later=True,
        ),
        Option(
            "min_words_per_s",
            "words per second of speech below which a window's text is too sparse, if its characters are too few",
            0.4, float, layer="asr", later=True,
        ),
        Option(
            "min_chars_per_s",
            "characters per second of speech below which a window's text is too sparse, if its words are too few",
            2.0, float, layer="asr", later=True,
        ),
    ),
    "TranslateText": (
        Option(
            "translate_to", "language to translate to, such as en",
            metavar="CODE", layer="translation", through="target",
        ),
        Option(
            "translator",
            "whisper: the model itself, into English; openai: any OpenAI-compatible server, key in OPENAI_API_KEY; "
            "whisper for English and openai for others if not given",
            None, choices=("whisper", *TRANSLATORS, "none"), layer="asr", through="tasks",
        ),
        Option(
            "translate_model", "model that the server is asked for", "gpt-4.1", layer="translation", through="model"
        ),
        Option("openai_base_url", "address of the server; OpenAI's own if empty"),
        Option("translate_concurrency", "media translated at once", 8, int),
    ),
    "SaveMedia and WriteDataset": (
        Option("output", "where everything is written", required=True, metavar="FOLDER", is_place=True),
        Option(
            "formats", "files for each recording",
            FORMATS, several=True, choices=FORMATS, layer="saved", through="formats",
        ),
        Option(
            "keep_audio",
            "keep each recording's audio as a small .opus beside its text, so that the report can play it",
            False, bool, layer="saved", through="formats",
        ),
        Option("num_shards", "Parquet files in each table", 1, int),
    ),
    "Running": (
        Option(
            "config", "sets any flag; flags on the command line win",
            metavar="FILE.yaml", is_place=True, terminal=True,
        ),
        Option(
            "runner",
            "where the graph runs: DirectRunner, FlinkRunner (docs/flink.md) or DataflowRunner (docs/dataflow.md)",
            "DirectRunner", terminal=True,
        ),
        Option(
            "no_wait", "leave the job to its cluster once it runs there, and end with 0", False, bool, terminal=True
        ),
        Option(
            "dataflow_gpu",
            f"of the workers that run the model; {DEFAULT_GPU} if not given. See docs/dataflow.md",
            None, choices=(*GPUS, "none"),
        ),
        Option(
            "metrics_port",
            "serve the run's figures to Prometheus at this port; on a cluster each worker process serves its own, "
            "at this port or the first free one of the nine behind it; 0 serves none: see docs/monitoring.md",
            0, int, metavar="PORT", terminal=True,
        ),
        Option("log_level", "of the log on stderr", "INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR")),
    ),
}  # fmt: skip
OPTIONS: dict[str, Option] = {option.name: option for options in STEPS.values() for option in options}


def changed(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings that are not as they come, by name; places are none."""
    for name, option in sorted(OPTIONS.items()):
        if not option.is_place and name in values and not option.is_default(values[name]):
            yield name, values[name]


def of_another_engine(values: Mapping[str, Any]) -> Iterator[Option]:
    """The options that are set and that the chosen engine does not have."""
    for name, option in OPTIONS.items():
        if option.engine not in ("", values["engine"]) and not option.is_default(values[name]):
            yield option


def settings(layer: str, values: Mapping[str, Any], **derived: Any) -> dict[str, Any]:
    """The settings that a layer's fingerprint covers: the values of its options, and those derived from options.

    Raises:
        ValueError: an option of the layer would be forgotten.
    """
    own = [
        option
        for option in OPTIONS.values()
        if option.layer == layer
        and option.engine in ("", values["engine"])
        and not (option.later and option.is_default(values[option.name]))
    ]
    if missing := {option.through for option in own if option.through} - derived.keys():
        raise ValueError(f"the fingerprint of the {layer} layer forgets {', '.join(sorted(missing))}")
    plain = {option.name: values[option.name] for option in own if not option.through}
    return {name: sorted(value) if OPTIONS[name].several else value for name, value in plain.items()} | derived
