"""The same windows as in test_whisper_model.py, on CTranslate2: the same words and figures, and no torch."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import jiwer
import pytest

from tests import runs
from tests.conftest import ROOT, SAMPLES, demo_handler, media_of, pcm_of, windows_of
from transforms.engines.catalog import ModelError, describe
from transforms.engines.faster_whisper import FasterWhisperEngine
from transforms.engines.faster_whisper_settings import FasterWhisperSettings
from transforms.engines.whisper import WhisperEngine
from transforms.engines.whisper_settings import WhisperSettings
from transforms.records import MediaChunk

JFK = ROOT / "tests" / "data" / "speech" / "jfk.flac"
SAID = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
POCKETSPHINX = pathlib.Path("/usr/share/pocketsphinx/test/data")


def engine(model="demo", **settings):
    return FasterWhisperEngine(FasterWhisperSettings(describe(str(model)), device="cpu", **settings))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def demo(cache):
    return engine(compute_type="float32").load()


@pytest.fixture(scope="module")
def windows():
    """Windows of three media, in two languages, one in both, one to translate, and one without speech."""
    silent = windows_of("letter.flac")[0]._replace(pcm=bytes(2 * 48_000), pauses=())
    both = ("transcribe", "translate")
    return [
        windows_of("letter.flac")[0],
        windows_of("office.mp3")[0],
        *windows_of("village.opus", both)[:2],
        *windows_of("two languages.m4a", both),
        silent,
    ]


def timeless(heard):
    return [each._replace(infer_s=0.0) for each in heard]


def test_words_times_languages_and_figures_are_those_of_the_whisper_engine(demo, demo_model, windows):
    ours, theirs = demo.transcribe(windows), demo_model.transcribe(windows)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.texts, one.language, one.truncated) == (other.texts, other.language, other.truncated)
        for figure in ("avg_logprob", "no_speech_prob", "language_probability"):
            assert getattr(one, figure) == pytest.approx(getattr(other, figure), abs=0.002)
    assert {each.language for heard in ours for each in heard.texts["transcribe"]} == {"hi", "en"}


def test_a_window_is_heard_the_same_alone_as_in_any_batch(demo, windows):
    together = timeless(demo.transcribe(windows))
    assert timeless(demo.transcribe(windows[::-1])) == together[::-1]
    assert [timeless(demo.transcribe([window]))[0].texts for window in windows] == [each.texts for each in together]


@pytest.mark.parametrize("settings", [{"language": "hi"}, {"languages": ("hi",)}, {"languages": ("fr", "en")}])
def test_languages_are_told_as_the_whisper_engine_is_told_them(demo_model, windows, settings):
    ours = engine(compute_type="float32", **settings).load().transcribe(windows[:4])
    theirs = demo_handler(**settings).load_model().transcribe(windows[:4])
    for one, other in zip(ours, theirs, strict=True):
        assert (one.language, one.texts) == (other.language, other.texts)
        assert one.language_probability == pytest.approx(other.language_probability, abs=0.002)


def test_a_manifests_language_holds_for_its_media_alone(demo, windows):
    media = windows[1].chunk.media._replace(language="hi")
    forced = windows[1]._replace(chunk=windows[1].chunk._replace(media=media))
    assert [each.language for each in demo.transcribe([forced, windows[1]])] == ["hi", "en"]


def test_a_language_that_the_model_cannot_be_told_fails_once():
    with pytest.raises(ModelError, match="does not know the language 'xx'"):
        engine(languages=("hi", "xx")).load()


def test_a_text_that_runs_into_the_token_limit_is_said_to_be_cut(demo, windows, monkeypatch):
    assert not demo.transcribe(windows[:1])[0].truncated
    monkeypatch.setattr(demo, "_positions", 8)
    assert demo.transcribe(windows[:1])[0].truncated


def test_what_the_machine_lacks_is_told_before_the_model_is_loaded():
    with pytest.raises(
        ValueError, match="--compute_type float16: the cpu here does not have it; choose from default"
    ):
        engine(compute_type="float16").place()
    with pytest.raises(ValueError, match="device cuda:99: CTranslate2 finds none here"):
        FasterWhisperEngine(FasterWhisperSettings(describe("demo"), device="cuda:99")).place()
    assert engine(compute_type="int8", batch_size=3).place() == "cpu in int8, 3 windows at once"


def test_threads_are_shared_among_the_batches_at_once(monkeypatch):
    monkeypatch.setattr("transforms.engines.faster_whisper.usable_cpus", lambda: 6)
    assert [engine(num_workers=number).cpu_threads() for number in (1, 2, 4, 8)] == [6, 3, 1, 1]
    assert engine(num_workers=2, cpu_threads=5).cpu_threads() == 5


def test_a_loaded_model_has_imported_neither_torch_nor_transformers(demo):
    code = (
        "import sys\nfrom transforms.engines.catalog import describe\n"
        "from transforms.engines.faster_whisper import *\n"
        "FasterWhisperEngine(FasterWhisperSettings(describe('demo'))).load()\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.long(40)
def test_the_main_job_writes_the_same_words_on_either_engine(cli, tmp_path):
    said = {}
    for name, words in (("whisper", []), ("faster-whisper", ["--compute_type", "float32"])):
        inputs = ["--input", SAMPLES / "office.mp3", "--input", SAMPLES / "village.opus"]
        flags = ["--model", "demo", "--device", "cpu", "--translate_to", "en", "--engine", name, *words]
        ran = cli(*inputs, "--output", tmp_path / name, *flags)
        assert ran.code == 0, ran.said
        said[name] = runs.transcripts(tmp_path / name)
        assert {row.pop("engine") for row in said[name].values()} == {name}
    for id, row in said["whisper"].items():
        other = said["faster-whisper"][id]
        assert (row["transcription"], row["translation"]) == (other["transcription"], other["translation"])
        assert row["segments"] == other["segments"]


@pytest.mark.long(20)
def test_a_compute_type_that_the_machine_lacks_ends_the_main_job_in_one_line(cli, tmp_path):
    flags = ["--model", "demo", "--device", "cpu", "--engine", "faster-whisper", "--compute_type", "float16"]
    ran = cli("--input", SAMPLES / "office.mp3", "--output", tmp_path / "out", *flags)
    assert ran.code == 2
    assert "--compute_type float16: the cpu here does not have it" in ran.err
    assert "Traceback" not in ran.said
    assert not (tmp_path / "out").exists()


def window_of(path, tasks=("transcribe",)):
    """All of a clip as one window."""
    [like] = windows_of("letter.flac")[:1]
    chunk = MediaChunk(media_of(path))
    return like._replace(chunk=chunk, start_sample=0, pcm=pcm_of(path).tobytes(), tasks=tasks, pauses=())


def words(heard):
    text = " ".join(segment.text for segment in heard.texts["transcribe"])
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text.lower().replace("-", " ")).split())


def clips():
    """(file, what is said in it) of real voices: JFK's, and those of pocketsphinx's tests where installed."""
    found = [(JFK, SAID)]
    listed = POCKETSPHINX / "librivox" / "transcription"
    for line in listed.read_text().splitlines() if listed.is_file() else ():
        text, _, name = line.strip().removeprefix("<s> ").partition(" </s> (")
        found.append((listed.with_name(f"{name.rstrip(')')}.wav"), text))
    return found


@pytest.mark.long(30)
def test_real_weights_say_the_same_on_either_engine_and_in_either_format(whisper_base, whisper_base_ct2):
    heard_by = {
        "ct2": engine(whisper_base_ct2, compute_type="float32").load(),
        "converted to ct2": engine(whisper_base, compute_type="float32").load(),
        "transformers": WhisperEngine(WhisperSettings(describe(str(whisper_base)), device="cpu")).load(),
        "converted to transformers": WhisperEngine(
            WhisperSettings(describe(str(whisper_base_ct2)), device="cpu")
        ).load(),
    }
    windows = [window_of(path, ("transcribe", "translate")) for path, _ in clips()]
    all_heard = {name: model.transcribe(windows) for name, model in heard_by.items()}
    first = all_heard.pop("transformers")
    for name, found in all_heard.items():
        for one, other in zip(found, first, strict=True):
            assert (one.texts, one.language) == (other.texts, other.language), name
            assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=0.005)


@pytest.mark.long(15)
@pytest.mark.parametrize(("compute_type", "most"), [("float32", 0.03), ("int8", 0.035)])
def test_words_of_real_voices_are_right(whisper_base_ct2, compute_type, most):
    found = engine(whisper_base_ct2, compute_type=compute_type).load().transcribe([window_of(p) for p, _ in clips()])
    said = [text.replace("mister", "mr") for _, text in clips()]
    assert {each.language for each in found} == {"en"}
    assert jiwer.wer(said, [words(each) for each in found]) <= most


@pytest.mark.long(15)
def test_an_english_only_checkpoint_needs_no_language(tiny_en, tiny_en_ct2):
    window = window_of(JFK, ("transcribe", "translate"))
    [ours] = engine(tiny_en_ct2, compute_type="float32").load().transcribe([window])
    [theirs] = WhisperEngine(WhisperSettings(describe(str(tiny_en)), device="cpu")).load().transcribe([window])
    assert (ours.language, ours.texts) == (theirs.language, theirs.texts)
    assert words(ours) == SAID
    assert (
        engine(tiny_en_ct2).languages()
        == WhisperEngine(WhisperSettings(describe(str(tiny_en)))).languages()
        == {"en"}
    )
