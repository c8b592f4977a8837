"""Every flag, grouped by the step it belongs to. What is not listed here must be a flag of Beam's own."""

from __future__ import annotations

import argparse
import difflib
import math
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import yaml

from beam_pipeline.terminal import complain
from runners.dataflow.machines import DEFAULT_GPU, GPUS
from transforms.decode_audio import DecodeConfig
from transforms.engines.whisper import NO_SPEECH
from transforms.media.chunks import ChunkConfig
from transforms.media.windows import WindowConfig
from transforms.save_media import FORMATS
from transforms.translate_text import TranslateConfig
from transforms.translators.openai import KEY_VARIABLE, OpenAIConfig
from transforms.write_dataset import DatasetConfig

DEFAULT_MODEL = "openai/whisper-large-v3"
DESCRIPTION = "Turn audio and video into transcripts, translations, subtitles and a Parquet dataset."
EPILOG = (
    "Flags of Beam's own, such as --direct_num_workers or --flink_master, may follow. Exit codes: 0 all is done, "
    "1 the run failed, 2 wrong usage, 3 finished with dead letters. A run that was stopped goes on where it was when "
    "it is started again."
)


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        empty = (
            action.default in (None, "", False, math.inf, argparse.SUPPRESS)
            or action.default == []
            or action.required
        )
        return action.help if empty else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Ends with one line and exit code 2 instead of argparse's whole usage."""

    def error(self, message: str) -> NoReturn:
        complain(f"error: {message}\nSee python -m beam_pipeline --help.")
        raise SystemExit(2)


def parser(kind: type[Parser] = Parser) -> Parser:
    """The parser of all flags of ours; its kind says what wrong usage comes to."""
    made = kind(
        prog="python -m beam_pipeline",
        usage="python -m beam_pipeline --input MEDIA [MEDIA ...] --output FOLDER [flags]",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    for add in (_add_input, _add_plan, _add_decode, _add_transcribe, _add_translate, _add_output, _add_running):
        add(made)
    made.set_defaults(stores={})  # only a config file has them
    return made


def _add_input(made: Parser) -> None:
    group = made.add_argument_group("CollectMedia")
    group.add_argument(
        "--input",
        nargs="+",
        action="extend",
        required=True,
        metavar="MEDIA",
        help="media files, folders (searched through), patterns (quoted) and manifests (.txt .csv .tsv .json .jsonl "
        ".ndjson .m3u .parquet: see docs/manifests.md); may be given several times",
    )
    group.add_argument(
        "--suffixes",
        nargs="+",
        default=[],
        metavar=".XYZ",
        help="take files in folders with these too, beside the known ones (docs/input.md); . takes names without any",
    )


def _add_plan(made: Parser) -> None:
    group = made.add_argument_group("PlanWork")
    group.add_argument("--overwrite", action="store_true", help="do everything anew, whatever earlier runs left")
    group.add_argument("--retry_failed", action="store_true", help="try media again that became dead letters")
    group.add_argument(
        "--keep_missing", action="store_true", help="keep media, and their files, that are not in the input any more"
    )
    group.add_argument(
        "--max_failures",
        type=float,
        default=math.inf,
        metavar="N",
        help="stop with exit code 1 when more media than this number, or this share such as 0.05, fail in this run",
    )
    group.add_argument(
        "--chunk_minutes",
        type=float,
        default=ChunkConfig().chunk_minutes,
        metavar="N",
        help="media longer than about this are cut into chunks for several workers; 0 cuts none",
    )
    group.add_argument("--dry_run", action="store_true", help="list what would be done, and do nothing")


def _add_decode(made: Parser) -> None:
    group = made.add_argument_group("DecodeAudio")
    default = DecodeConfig()
    group.add_argument(
        "--audio_track",
        default="",
        help="number (from 0) or language as the container tags it (hin); the first one if empty",
    )
    group.add_argument(
        "--channels",
        choices=["mix", "split"],
        default=default.channels,
        help="split: transcribe each channel on its own, as of a call with a speaker on each",
    )
    group.add_argument("--decode_ahead", type=int, default=default.decode_ahead, help="media decoded at once")
    group.add_argument(
        "--decode_timeout_s",
        type=float,
        default=default.chunks.decode_timeout_s,
        help="seconds without a byte from the decoder",
    )
    group.add_argument(
        "--max_media_hours", type=float, default=default.max_media_hours, help="longer media are dead letters"
    )
    group.add_argument(
        "--max_window_s", type=float, default=0.0, help="longest window in seconds; 0 is what the model declares"
    )
    group.add_argument(
        "--vad_threshold",
        type=float,
        default=WindowConfig().threshold,
        help="probability from which a frame is speech",
    )


def _add_transcribe(made: Parser) -> None:
    group = made.add_argument_group("TranscribeSpeech")
    group.add_argument("--engine", choices=["whisper"], default="whisper", help="what runs the model")
    group.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a Whisper checkpoint: id on the Hugging Face hub, folder, or `demo` for the one in the package, "
        "which knows a small vocabulary in synthetic voices",
    )
    group.add_argument("--model_revision", default="", help="branch, tag or commit on the hub")
    group.add_argument("--language", default="", help="language of all media, such as hi; found if empty")
    group.add_argument(
        "--languages", nargs="+", default=[], metavar="CODE", help="the languages to choose from; all if none"
    )
    group.add_argument("--device", default="auto", help="cuda, cuda:1, mps or cpu")
    group.add_argument("--dtype", choices=["auto", "float32", "bfloat16", "float16"], default="auto")
    group.add_argument("--batch_size", type=int, default=0, help="windows at once; 0 is by the device's memory")
    group.add_argument(
        "--no_speech_threshold",
        type=float,
        default=NO_SPEECH,
        help="no-speech probability from which an unsure window is silent",
    )


def _add_translate(made: Parser) -> None:
    group = made.add_argument_group("TranslateText")
    group.add_argument("--translate_to", default="", metavar="CODE", help="language to translate to, such as en")
    group.add_argument(
        "--translator",
        choices=["whisper", "openai", "none"],
        help=f"whisper: the model itself, into English; openai: any OpenAI-compatible server, key in {KEY_VARIABLE}; "
        "whisper for English and openai for others if not given",
    )
    group.add_argument("--translate_model", default=OpenAIConfig("").model, help="model that the server is asked for")
    group.add_argument("--openai_base_url", default="", help="address of the server; OpenAI's own if empty")
    group.add_argument(
        "--translate_concurrency", type=int, default=TranslateConfig().concurrency, help="media translated at once"
    )


def _add_output(made: Parser) -> None:
    group = made.add_argument_group("SaveMedia and WriteDataset")
    group.add_argument("--output", required=True, metavar="FOLDER", help="where everything is written")
    group.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS, help="files for each media")
    group.add_argument(
        "--keep_audio",
        action="store_true",
        help="keep each media's audio as a small .opus beside its text, so that the report can play it",
    )
    group.add_argument(
        "--num_shards", type=int, default=DatasetConfig().num_shards, help="Parquet files in each table"
    )


def _add_running(made: Parser) -> None:
    group = made.add_argument_group("Running")
    group.add_argument("--config", metavar="FILE.yaml", help="sets any flag; flags on the command line win")
    group.add_argument(
        "--runner",
        default="DirectRunner",
        help="where the graph runs: DirectRunner, FlinkRunner (docs/flink.md) or DataflowRunner (docs/dataflow.md)",
    )
    group.add_argument(
        "--no_wait", action="store_true", help="leave the job to its cluster once it runs there, and end with 0"
    )
    group.add_argument(
        "--dataflow_gpu",
        choices=[*GPUS, "none"],
        help=f"of the workers that run the model; {DEFAULT_GPU} if not given. See docs/dataflow.md",
    )
    group.add_argument(
        "--metrics_port",
        type=_port,
        default=0,
        metavar="PORT",
        help="serve the run's figures to Prometheus at this port; on a cluster each worker process serves its own, "
        "at this port or the first free one of the nine behind it; 0 serves none: see docs/monitoring.md",
    )
    group.add_argument(
        "--log_level", choices=["DEBUG", "INFO", "WARNING", "ERROR"], default="INFO", help="of the log on stderr"
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{port} is no port: choose from 1 to 65535")
    return port


def parse(argv: Sequence[str] | None = None, kind: type[Parser] = Parser) -> tuple[argparse.Namespace, list[str]]:
    """Our flags, and those that are Beam's.

    Exits with 2 on a flag that neither knows, or a value that cannot be.
    """
    made, words = parser(kind), list(sys.argv[1:] if argv is None else argv)
    flags, rest = made.parse_known_args(_with_config(made, words))
    refuse_unknown(made, rest)
    return flags, rest


def refuse_unknown(made: Parser, rest: Sequence[str]) -> None:
    """Exit with 2 on anything that Beam would silently drop, and on flags of Beam's that take a secret."""
    beam = beam_parser()
    beam.error = made.error  # type: ignore[method-assign]  # one line, as for flags of ours
    for word in rest:
        if re.match(r"--\w*(secret|token|password|access_key|connection_string)", word):
            made.error(
                f"{word.partition('=')[0]} would show a secret to everybody on this machine: see docs/stores.md"
            )
    _, unknown = beam.parse_known_args(list(rest))
    if not unknown:
        return
    name = unknown[0].split("=")[0]
    known = [*_flag_names(made), *_flag_names(beam)]
    near = difflib.get_close_matches(name, known, 1)
    made.error(f"unknown argument {unknown[0]}" + (f"; did you mean {near[0]}?" if near else ""))


def beam_parser() -> argparse.ArgumentParser:
    """A parser of every flag that Beam's option classes define."""
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    from runners.flink import flags  # noqa: F401 - its options are found by their base class

    made = _BeamArgumentParser(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    waiting = list(PipelineOptions.__subclasses__())
    while waiting:
        options = waiting.pop()
        waiting += options.__subclasses__()
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(made)
    return made


def _flag_names(made: argparse.ArgumentParser, switches: bool = False) -> list[str]:
    """The flags of a parser, or those of them that take no value."""
    actions = [action for action in made._actions if action.nargs == 0 or not switches]
    return [name for action in actions for name in action.option_strings if name.startswith("--")]


def _with_config(made: Parser, words: list[str]) -> list[str]:
    """The words of the config file in front of those of the command line, but for flags that both give."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(words)[0].config
    if path is None:
        return words
    if not path.strip():
        made.error("--config is empty: is a variable not set?")
    content, stores = read_config(made, path)
    made.set_defaults(stores=stores)
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    switches = {name for made_by in (made, beam_parser()) for name in _flag_names(made_by, switches=True)}
    entries = [(f"--{name}", value) for name, value in content.items() if f"--{name}" not in given]
    return [token for name, value in entries for token in tokens(name, value, name in switches)] + words


def read_config(made: Parser, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The flags and the `stores:` of a config file; exits with 2 where it cannot be one."""
    try:
        content = yaml.load(pathlib.Path(path).read_text(), yaml.BaseLoader) or {}  # `language: no` is Norwegian
    except (OSError, yaml.YAMLError) as error:
        made.error(f"--config {path} cannot be read: {error}")
    if not isinstance(content, dict):
        made.error(f"--config {path} must map flags to values, such as `model: demo`")
    stores = content.pop("stores", None) or {}
    if not isinstance(stores, dict) or not all(isinstance(settings, dict) for settings in stores.values()):
        made.error(f"--config {path}: `stores` must map names to settings, such as an endpoint")
    return content, stores


def tokens(name: str, value: Any, switch: bool) -> list[str]:
    """One entry of a config file as words of a command line."""
    if value == "" and name not in ("--input", "--output"):  # which may not be empty, and are told of
        return []
    if switch:
        return [name] if str(value).lower() in ("true", "yes", "on") else []
    if isinstance(value, list):
        return [name, *map(str, value)]
    return [f"{name}={value}"]
