"""Wrong usage is refused before any work, with exit code 2 and what to do."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys

import pytest

from beam_pipeline import beam_flags
from beam_pipeline.__main__ import main
from beam_pipeline.options import OPTIONS, settings
from beam_pipeline.parser import parse
from beam_pipeline.run.job import make_job
from tests.conftest import ROOT, SAMPLES
from transforms.decode_audio import DecodeConfig
from transforms.engines.faster_whisper_settings import FasterWhisperSettings
from transforms.engines.verdict import Thresholds
from transforms.engines.whisper_settings import WhisperSettings
from transforms.media.windows import WindowConfig
from transforms.plan_work import PlanConfig
from transforms.save_media import FORMATS as SAVED_FORMATS
from transforms.save_media import SaveConfig
from transforms.translate_text import TranslateConfig
from transforms.translators.openai import OpenAISettings
from transforms.write_dataset import DatasetConfig

USAGE = 2


NEVER = pathlib.Path("/tmp/never-written")


def job(*words):
    flags, _ = parse(["--input", str(SAMPLES), "--output", str(NEVER), "--model", "demo", *map(str, words)])
    return make_job(flags)


@pytest.fixture(autouse=True)
def nothing_is_written():
    yield
    assert not NEVER.exists()


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--modle", "demo"], "did you mean --model?"),
        (["--direct_num_worker=2"], "did you mean --direct_num_workers?"),
        (["--frobnicate"], "unknown argument --frobnicate"),
        (["stray"], "unknown argument stray"),
        (["--num_shards", "many"], "invalid int value"),
        (["--formats", "ass"], "invalid choice"),
        (["--engine", "whispr"], "invalid choice"),
    ],
)
def test_a_flag_that_nobody_knows_is_refused_with_the_nearest(words, advice, capsys):
    assert main(["--input", str(SAMPLES), "--output", str(NEVER), "--model", "demo", *words]) == USAGE
    assert advice in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--translate_to", "hi", "--translator", "whisper"], "into English only"),
        (["--translate_to", "hi"], "OPENAI_API_KEY"),
        (["--translator", "whisper"], "needs --translate_to"),
        (["--translator", "none", "--translate_to", "en"], "leave out --translator none"),
        (["--translate_to", "Inglish"], "--translate_to: the language 'Inglish'.* write a language code"),
        (["--language", "hindii"], "--language: the language 'hindii'.* did you mean hindi"),
        (["--language", "zu"], "--language: the model does not know the language 'zu'"),
        (["--languages", "hi", "zul"], "--languages: the model does not know the language 'zul'"),
        (["--language", "hi", "--languages", "en", "fr"], "is not among"),
        (["--max_window_s", "31"], "at most 30 seconds"),
        (["--max_window_s", "0.5"], "at least 1 second"),
        (["--num_shards", "0"], "from 1 to 99999"),
        (["--decode_ahead", "0"], "at least one decoder"),
        (["--batch_size", "-1"], "give a number of windows"),
        (["--vad_threshold", "5"], "between 0.15 and 1"),
        (["--decode_timeout_s", "-1"], "must be above 0"),
        (["--max_media_hours", "0"], "must be above 0"),
        (["--no_speech_threshold", "9"], "is a probability"),
        (["--logprob_threshold", "1"], "is at most 0"),
        (["--compression_ratio_threshold", "nan"], "it is at least 1"),
        (["--max_repeats", "0"], "every phrase is there once"),
        (["--min_words_per_s", "11"], "from 0 up, in this order"),
        (["--max_chars_per_s", "nan"], "from 0 up, in this order"),
        (["--translate_concurrency", "0"], "at least one recording at once"),
        (["--translate_to", "en", "--openai_base_url", "http://me:secret@host/v1"], "must hold no password"),
        (["--model", "nothere"], "no such folder"),
        (["--input", "abfs://bucket/key"], "not supported yet"),
        (["--input", "s3://AKIA:wJalr/K7@bucket/key"], "the name of a profile, never a key"),
        (["--input", "s3://AKIA:wJalr@bucket/key"], "the name of a profile, never a key"),
        (["--overwrite", "--keep_missing"], "take one of the two"),
        (["--openai_base_url", "http://host/v1?api-key=x"], "no password and no query"),
    ],
)
def test_flags_that_cannot_be_together_are_refused_with_advice(words, advice, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match=advice):
        job(*words)


@pytest.mark.parametrize(
    "words", [["--s3_secret_access_key", "wJalr"], ["--s3_session_token=wJalr"], ["--azure_connection_string=wJalr"]]
)
def test_a_flag_that_takes_a_secret_is_refused_and_the_secret_not_shown(words, capsys):
    assert main(["--input", "a", "--output", "b", *words]) == USAGE
    printed = capsys.readouterr().err
    assert "would show a secret" in printed
    assert "wJalr" not in printed


def test_beams_own_flags_pass_through():
    _, beam_flags = parse(["--input", "a", "--output", "b", "--direct_num_workers=2", "--labels=airflow=1"])
    assert beam_flags == ["--direct_num_workers=2", "--labels=airflow=1"]


def test_a_config_file_sets_any_flag_and_the_command_line_wins(tmp_path):
    config = tmp_path / "job.yaml"
    config.write_text(
        "input: [a, b]\noutput: there\nmodel: demo\nnum_shards: 3\noverwrite: true\nretry_failed: false\n"
        "translate_to: en\ndirect_num_workers: 2\n"
    )
    flags, beam_flags = parse(["--config", str(config), "--num_shards", "5"])
    assert (flags.input, flags.output, flags.model) == (["a", "b"], "there", "demo")
    assert (flags.num_shards, flags.overwrite, flags.retry_failed) == (5, True, False)
    assert beam_flags == ["--direct_num_workers=2"]
    flags, _ = parse(["--config", str(config), "--input", "c"])
    assert flags.input == ["c"]
    config.write_text("input: a\noutput: b\nlanguage: no\n")  # Norwegian, which YAML takes for false
    assert parse(["--config", str(config)])[0].language == "no"


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ("nope: 1\ninput: a\noutput: b", "unknown argument --nope"),
        ("[1, 2]", "must map flags"),
        ("a: [", "cannot be"),
    ],
)
def test_a_config_file_that_cannot_be_meant_is_refused(tmp_path, capsys, content, advice):
    (tmp_path / "job.yaml").write_text(content)
    assert main(["--config", str(tmp_path / "job.yaml"), "--input", "a", "--output", "b"]) == USAGE
    assert advice in capsys.readouterr().err


def test_the_translator_follows_from_the_language(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    assert job().provenance.translate_task_to == ""
    assert job("--translate_to", "en").decode.tasks == ("transcribe", "translate")
    assert job("--translate_to", "fr").translate.translator.target == "fr"


@pytest.mark.parametrize(
    ("words", "asr", "translation", "saved"),
    [
        (["--batch_size", "3", "--decode_ahead", "5", "--device", "cpu"], False, False, False),
        (["--formats", "srt"], False, False, True),
        (["--translate_model", "other"], False, True, True),
        (["--translate_to", "de"], False, True, True),
        (["--language", "hi"], True, True, True),
        (["--vad_threshold", "0.6"], True, True, True),
        (["--max_window_s", "5"], True, True, True),
        (["--audio_track", "1"], True, True, True),
    ],
)
def test_an_option_changes_its_own_layer_and_those_that_follow(words, asr, translation, saved, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    one = job("--translate_to", "fr").work
    other = job("--translate_to", "fr", *words).work
    assert (one.asr != other.asr, one.translation != other.translation, one.saved != other.saved) == (
        asr,
        translation,
        saved,
    )


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["--language", "hin"], ["--language", "hi"]),
        (["--language", "Hindi"], ["--language", "hi"]),
        (["--language", "auto"], []),
        (["--languages", "HI", "english"], ["--languages", "hi", "en"]),
        (["--languages", "auto"], []),
        (["--translate_to", "en-US"], ["--translate_to", "en"]),
        (["--translate_to", "French"], ["--translate_to", "fr"]),
    ],
)
def test_a_language_is_the_same_work_however_it_is_written(words, same, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    one, other = job(*words), job(*same)
    assert dataclasses.replace(one.work, run="") == dataclasses.replace(other.work, run="")
    assert one.engine == other.engine


def test_the_languages_of_a_manifest_are_held_against_those_of_the_model():
    assert "hi" in job().inputs.languages
    assert "zu" not in job().inputs.languages


def test_the_help_names_every_flag_under_its_step(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    for step in ("CollectMedia", "DecodeAudio", "TranscribeSpeech", "TranslateText", "SaveMedia and WriteDataset"):
        assert f"\n{step}:" in text


OTHER = {  # another value of each option, as a command line has it
    "chunk_minutes": "7", "audio_track": "1", "channels": "split", "max_window_s": "5", "vad_threshold": "0.6",
    "language": "hi", "languages": "hi en", "no_speech_threshold": "0.5", "translate_to": "de",
    "logprob_threshold": "-0.5", "compression_ratio_threshold": "3", "max_repeats": "9", "max_words_per_s": "8",
    "max_chars_per_s": "30", "min_words_per_s": "0.2", "min_chars_per_s": "1",
    "translate_model": "other", "formats": "srt", "model_revision": "", "model": str(SAMPLES), "engine": "",
    "translator": "",
    "input": "x", "output": "", "config": "", "suffixes": ".xyz",
    "overwrite": True, "retry_failed": True, "keep_missing": True,
    "max_failures": "5", "dry_run": True, "json": True,
    "decode_ahead": "3", "decode_timeout_s": "9", "max_media_hours": "2",
    "device": "cpu", "dtype": "float32", "batch_size": "3", "compute_type": "int8", "cpu_threads": "1",
    "num_workers": "2", "openai_base_url": "http://other/v1",
    "translate_concurrency": "2", "keep_audio": True, "num_shards": "2", "runner": "FlinkRunner", "no_wait": True,
    "dataflow_gpu": "t4", "metrics_port": "9000", "log_level": "DEBUG",
}  # fmt: skip
# what an option is wrong usage without
TOGETHER = {
    "json": ["--dry_run"],
    **{name: ["--engine", option.engine] for name, option in OPTIONS.items() if option.engine},
}
DERIVED = {"model", "model_revision", "engine", "translator"}  # by what they name, not by their own words


@pytest.mark.parametrize("name", [name for name in OPTIONS if OTHER[name] and name not in DERIVED])
def test_every_option_changes_the_layers_that_the_table_says_and_no_other(name, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    value = OTHER[name]
    words = [f"--{name}", *([] if value is True else value.split())]
    others = ["--translate_to", "fr", *TOGETHER.get(name, [])]
    one, other = job(*others).work, job(*others, *words).work
    first = {"asr": 0, "translation": 1, "saved": 2, "": 3}[OPTIONS[name].layer]
    changed = (one.asr != other.asr, one.translation != other.translation, one.saved != other.saved)
    assert changed == tuple(layer >= first for layer in range(3))


def test_no_option_is_forgotten_by_the_fingerprints():
    assert OTHER.keys() == OPTIONS.keys()
    values = {name: option.default for name, option in OPTIONS.items()}
    with pytest.raises(ValueError, match="the asr layer forgets model, tasks"):
        settings("asr", values, windows={})


def test_the_fingerprints_are_those_of_outputs_that_earlier_versions_began():
    assert (job().work.asr, job().work.saved) == ("9c0cf37ec19c", "74a00c1d90a6")


def test_an_option_that_came_later_is_in_a_fingerprint_only_where_it_is_not_as_it_comes():
    values = {name: option.default for name, option in OPTIONS.items()}
    later = {name for name, option in OPTIONS.items() if option.later}
    derived = {"model": "m", "tasks": (), "windows": {}}
    assert not later & settings("asr", values, **derived).keys()
    assert settings("asr", {**values, "max_repeats": 9}, **derived)["max_repeats"] == 9


def test_thresholds_reach_the_engine_and_whoever_judges_it():
    made = job("--logprob_threshold", "-0.5", "--no_speech_threshold", "0.3", "--max_repeats", "9")
    assert made.thresholds == Thresholds(logprob_threshold=-0.5, no_speech_threshold=0.3, max_repeats=9)
    assert made.engine.settings.thresholds == made.thresholds


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--compute_type", "int8"], "--compute_type is of --engine faster-whisper, and this is --engine whisper"),
        (["--dtype", "bfloat16", "--engine", "faster-whisper"], "--dtype is of --engine whisper"),
        (["--cpu_threads", "-1", "--engine", "faster-whisper"], "cpu_threads is -1"),
        (["--num_workers", "0", "--engine", "faster-whisper"], "num_workers is 0"),
    ],
)
def test_an_option_that_the_engine_does_not_have_is_refused(words, advice):
    with pytest.raises(ValueError, match=advice):
        job(*words)


def test_the_defaults_of_the_flags_are_those_of_the_steps():
    made = job()
    assert made.decode == dataclasses.replace(DecodeConfig(), windows=made.decode.windows)
    assert made.decode.windows == WindowConfig(max_window_s=made.model.longest_window_s)
    assert made.engine.settings == WhisperSettings(made.model)
    assert made.thresholds == Thresholds()
    assert job("--engine", "faster-whisper").engine.settings == FasterWhisperSettings(made.model)
    assert made.translate == TranslateConfig()
    assert made.save == SaveConfig()
    assert made.plan == PlanConfig()
    assert made.dataset.num_shards == DatasetConfig().num_shards
    assert OPTIONS["formats"].default == SAVED_FORMATS
    assert OPTIONS["translate_model"].default == OpenAISettings("").model


def test_the_list_of_beams_flags_is_that_of_the_installed_beam():
    assert beam_flags.flags() == beam_flags.described()


LIGHT = {
    "apache_beam",
    "torch",
    "transformers",
    "onnxruntime",
    "numpy",
    "pyarrow",
    "boto3",
    "google.cloud.storage",
    "openai",
}


@pytest.mark.parametrize(
    "words",
    [
        ["beam_pipeline", "--help"],
        ["beam_pipeline", "--input", "a", "--output", "b", "--modle", "demo"],
        ["beam_pipeline", "--input", "a", "--output", "b", "--num_shards", "x"],
        ["beam_pipeline", "--input", "", "--output", "b"],
        ["beam_pipeline", "--input", "nothere.mp3", "--output", "b"],
        ["beam_pipeline.status", "--output", "nowhere"],
        ["beam_pipeline.failures", "--output", "nowhere"],
    ],
)
def test_what_can_be_said_at_once_imports_nothing_heavy(words, tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = {words!r}\n"
        "try: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "except SystemExit: pass\n"
        f"print('\\nHEAVY', sorted({LIGHT!r} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout + done.stderr
