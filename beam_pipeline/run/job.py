"""Builds the job from the flags: a checked config for each step, and the fingerprints of the layers."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import pathlib
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from beam_pipeline import options
from beam_pipeline.run.places import check_places, stores_of, suffixes_of
from transforms.dead_letters import FailureLimit
from transforms.decode_audio import DecodeConfig
from transforms.dofns.metrics import UNWATCHED, Watch
from transforms.engines.catalog import DEMO_NOTICE, ModelFacts, commit_of
from transforms.engines.languages import known_code, target_code
from transforms.engines.protocol import Engine
from transforms.engines.registry import ENGINES
from transforms.engines.verdict import USUAL, Thresholds
from transforms.inputs.listing import Inputs
from transforms.media.chunks import ChunkConfig
from transforms.media.windows import WindowConfig
from transforms.plan_work import PlanConfig
from transforms.save_media import SaveConfig
from transforms.storage import Stores
from transforms.translate_text import TranslateConfig
from transforms.translators.protocol import TranslatorSettings
from transforms.translators.registry import TRANSLATORS
from transforms.work.store import WorkStore, fingerprint
from transforms.work.transcripts import Provenance
from transforms.write_dataset import DatasetConfig

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Job:
    """The configuration of the whole graph. Pickled into the workers; holds no secret."""

    inputs: Inputs
    model: ModelFacts
    work: WorkStore
    plan: PlanConfig
    decode: DecodeConfig
    engine: Engine
    provenance: Provenance
    translate: TranslateConfig
    save: SaveConfig
    dataset: DatasetConfig
    watch: Watch = UNWATCHED
    thresholds: Thresholds = USUAL

    @property
    def output(self) -> str:
        return self.work.output

    def in_generation(self, anew: bool) -> Job:
        """This job in the output's current generation, or in a new one if everything is done anew."""
        work = self.work.in_generation(anew)
        return dataclasses.replace(self, work=work, inputs=dataclasses.replace(self.inputs, work=work))


def at_commit(job: Job, flags: argparse.Namespace) -> Job:
    """The job with its model at the commit that the revision is now: no worker loads another, and nothing that other
    weights heard counts. Asks the hub, so not while the graph is built.
    """
    if job.model.is_demo or pathlib.Path(job.model.path).is_dir():
        return job
    commit = commit_of(job.model.path, flags.model_revision or "main")
    if not commit:
        log.warning("which commit of %s the workers load is not known here: the hub was not reached", job.model.name)
        return job
    again = make_job(flags, commit)
    work = dataclasses.replace(again.work, run=job.work.run)
    return dataclasses.replace(again, work=work, dataset=job.dataset)


def make_job(flags: argparse.Namespace, commit: str = "") -> Job:
    """The job that the flags describe; `commit` is that of its model, where it is known.

    Raises:
        ValueError: they contradict each other, or name something that is not there; the message says what to do.
    """
    if flags.overwrite and flags.keep_missing:
        raise ValueError("--overwrite starts anew, with nothing that --keep_missing could keep: take one of the two")
    if not 0 <= flags.metrics_port <= 65_535:
        raise ValueError(f"--metrics_port {flags.metrics_port} is no port: choose from 1 to 65535")
    for option in options.of_another_engine(vars(flags)):
        raise ValueError(f"--{option.name} is of --engine {option.engine}, and this is --engine {flags.engine}")
    changed = _changed(flags)
    stores = stores_of(flags)
    output = check_places(flags, stores)
    engine = ENGINES[flags.engine].load().from_options(vars(flags) | ({"model_revision": commit} if commit else {}))
    model, languages = engine.model, engine.languages()
    _settle_languages(flags, languages)
    engine = engine.in_languages(flags.language, tuple(flags.languages))
    _check_translation(flags)
    by_model = flags.translator == "whisper"
    decode = _decode(flags, model, ("transcribe", "translate") if by_model else ("transcribe",), stores)
    save = SaveConfig(
        tuple(dict.fromkeys(flags.formats)),
        FailureLimit(flags.max_failures),
        decode.chunks if flags.keep_audio else None,
    )
    translate = TranslateConfig(_translator(flags), flags.translate_concurrency)
    work = _work(flags, output, model, decode, save, translate)
    return Job(
        inputs=Inputs(tuple(flags.input), stores, work, flags.keep_missing, suffixes_of(flags), languages),
        model=model,
        work=work,
        plan=PlanConfig(flags.retry_failed, decode.chunks),
        decode=decode,
        engine=engine,
        provenance=Provenance(flags.engine, model.name, flags.translate_to if by_model else ""),
        translate=translate,
        save=save,
        dataset=DatasetConfig(
            flags.num_shards,
            _about(flags, model),
            time.time(),
            changed,
            audio_is_kept=flags.keep_audio,
            keep_missing=flags.keep_missing,
        ),
        thresholds=Thresholds.from_options(vars(flags)),
    )


def _check_translation(flags: argparse.Namespace) -> None:
    """Settle who translates, and refuse what cannot work."""
    if re.search("[@?]", flags.openai_base_url):  # options are logged and kept in run.json
        raise ValueError("--openai_base_url must hold no password and no query; put the key into OPENAI_API_KEY")
    if flags.translator == "none" and flags.translate_to:
        raise ValueError(f"--translate_to {flags.translate_to} needs a translator: leave out --translator none")
    if flags.translator is None:
        flags.translator = {"": "none", "en": "whisper"}.get(flags.translate_to, "openai")
    if flags.translator == "none":
        return
    if not flags.translate_to:
        raise ValueError(f"--translator {flags.translator} needs --translate_to, such as --translate_to en")
    if flags.translator == "whisper" and flags.translate_to != "en":
        raise ValueError(
            f"--translator whisper translates into English only; for --translate_to {flags.translate_to} "
            "take --translator openai"
        )
    if flags.translator == "whisper" and re.search(r"turbo|distil|\.en$", flags.model):
        log.warning("%s was not trained to translate: what it gives as a translation may be none", flags.model)


def _settle_languages(flags: argparse.Namespace, known: frozenset[str]) -> None:
    """Put the model's own codes in the place of what the user wrote, so that `hin` and `hi` are the same work."""
    written = flags.translate_to
    flags.translate_to = _language("--translate_to", written, target_code)
    if re.search(r"[-_]", written) and flags.translate_to:
        log.warning("--translate_to %s: regions are not told apart; it is %s", written, flags.translate_to)
    flags.language = _language("--language", flags.language, known_code, known)
    chosen = [_language("--languages", text, known_code, known) for text in flags.languages]
    flags.languages = [] if "" in chosen else list(dict.fromkeys(chosen))  # `auto` is all of them
    if flags.language and flags.languages and flags.language not in flags.languages:
        raise ValueError(f"--language {flags.language} is not among --languages {' '.join(flags.languages)}")


def _language(flag: str, text: str, code_of: Callable[..., str], *known: frozenset[str]) -> str:
    try:
        return code_of(text, *known)
    except ValueError as error:
        raise ValueError(f"{flag}: {error}") from error


def _decode(flags: argparse.Namespace, model: ModelFacts, tasks: tuple[str, ...], stores: Stores) -> DecodeConfig:
    window_s = flags.max_window_s or model.longest_window_s
    if window_s > 30:
        raise ValueError(f"--max_window_s {window_s:g}: Whisper hears at most 30 seconds at once")
    return DecodeConfig(
        windows=WindowConfig(max_window_s=window_s, threshold=flags.vad_threshold),
        tasks=tasks,
        decode_ahead=flags.decode_ahead,
        channels=flags.channels,
        max_media_hours=flags.max_media_hours,
        chunks=ChunkConfig(flags.chunk_minutes, flags.audio_track, flags.decode_timeout_s, stores),
    )


def _translator(flags: argparse.Namespace) -> TranslatorSettings | None:
    """Who translates behind the model; None where nobody does, or the model itself."""
    chosen = TRANSLATORS.get(flags.translator)
    return chosen.load().from_options(vars(flags)) if chosen else None


def _work(
    flags: argparse.Namespace,
    output: str,
    model: ModelFacts,
    decode: DecodeConfig,
    save: SaveConfig,
    translate: TranslateConfig,
) -> WorkStore:
    """The layers under the output. What is not in a fingerprint (device, batch size) does not change its layer."""
    values, to = vars(flags), flags.translate_to
    windows = dataclasses.asdict(decode.windows)
    asr = fingerprint(options.settings("asr", values, model=model.identity, windows=windows, tasks=decode.tasks))
    translation = ""
    if translate.translator:
        by = translate.translator.identity()
        translation = fingerprint({"asr": asr, **options.settings("translation", values, target=to, **by)})
    formats = [*sorted(save.formats), *(["opus"] if flags.keep_audio else [])]
    made_of = {"asr": asr, "translation": translation, "to": to}
    saved = fingerprint({**made_of, **options.settings("saved", values, formats=formats)})
    stores, run = decode.chunks.stores, uuid.uuid4().hex[:12]
    return WorkStore(output, asr, saved, translation, flags.translate_to, stores, run)


def _about(flags: argparse.Namespace, model: ModelFacts) -> tuple[tuple[str, Any], ...]:
    notice = (("notice", DEMO_NOTICE),) if model.is_demo else ()
    return (("engine", flags.engine), ("model", model.name), *notice)


def _changed(flags: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    """The options that are not as they come, for people to see."""
    return tuple(
        (f"--{name}", " ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in options.changed(vars(flags))
    )
