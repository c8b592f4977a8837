"""The real model: each window in its own language and task, the same alone as in a batch."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from tests.conftest import SAMPLES, demo_handler, windows_of
from transforms.engines import window_model
from transforms.engines.catalog import DEMO_FOLDER, ModelError, describe
from transforms.engines.turns import part, stretches
from transforms.engines.whisper import WhisperEngine
from transforms.engines.whisper_settings import WhisperSettings


def hear(windows, model):
    return model.transcribe(windows)


def texts(heard, task="transcribe"):
    return [segment.text for segment in heard.texts[task]]


@pytest.fixture(scope="module")
def mixed():
    """A Hindi, an English and a window to translate, in one batch."""
    return [
        windows_of("letter.flac")[0],
        windows_of("office.mp3")[0],
        windows_of("village.opus", ("transcribe", "translate"))[0],
    ]


def test_one_batch_holds_windows_of_any_language_and_task_each_as_if_alone(demo_model, mixed):
    together = hear(mixed, demo_model)
    assert [heard.language for heard in together] == ["hi", "en", "hi"]
    assert [set(heard.texts) for heard in together] == [{"transcribe"}, {"transcribe"}, {"transcribe", "translate"}]
    for window, heard in zip(mixed, together, strict=True):
        alone = hear([window], demo_model)[0]
        assert (alone.texts, alone.language) == (heard.texts, heard.language)
        assert alone.avg_logprob == pytest.approx(heard.avg_logprob, abs=0.002)


def test_the_order_of_a_batch_does_not_matter(demo_model, mixed):
    forward, backward = hear(mixed, demo_model), hear(mixed[::-1], demo_model)
    assert [heard.texts for heard in forward] == [heard.texts for heard in backward[::-1]]


def test_the_words_are_those_of_transformers_own_generate(demo_model, mixed):
    processor = WhisperProcessor.from_pretrained(DEMO_FOLDER)
    model = WhisperForConditionalGeneration.from_pretrained(DEMO_FOLDER, dtype=torch.float32)
    for window, heard in zip(mixed, hear(mixed, demo_model), strict=True):
        audio = np.frombuffer(window.pcm, np.int16) / np.float32(32768)
        features = processor.feature_extractor(audio, sampling_rate=16_000, return_tensors="pt").input_features
        for task in heard.texts:
            ids = model.generate(features, language=heard.language, task=task, return_timestamps=True)
            said = processor.batch_decode(ids, skip_special_tokens=True)[0]
            assert said.split() == " ".join(texts(heard, task)).split()


def test_english_is_its_own_translation(demo_model):
    window = windows_of("office.mp3", ("transcribe", "translate"))[0]
    heard = hear([window], demo_model)[0]
    assert texts(heard) == texts(heard, "translate") != []


def test_a_forced_language_is_taken_and_certain(mixed):
    heard = hear(mixed, demo_handler(language="hi").load_model())
    assert [(each.language, each.language_probability) for each in heard] == [("hi", 1.0)] * 3


def test_a_manifests_language_holds_for_its_media_alone(demo_model, mixed):
    english = mixed[1]
    media = english.chunk.media._replace(language="hi")
    forced = english._replace(chunk=english.chunk._replace(media=media))
    assert [each.language for each in hear([forced, english], demo_model)] == ["hi", "en"]


def test_detection_chooses_among_the_languages_that_are_asked_for(mixed):
    heard = hear(mixed[:2], demo_handler(languages=("fr", "en")).load_model())
    assert {each.language for each in heard} <= {"fr", "en"}


@pytest.fixture(scope="module")
def turned():
    """A Hindi sentence, an English one and a Hindi one, in one window."""
    hindi, english = windows_of("letter.flac")[0], windows_of("office.mp3")[0]
    pieces = [
        part(hindi, *place(hindi, 0)).pcm,
        part(english, *place(english, 2)).pcm,
        part(hindi, *place(hindi, 2)).pcm,
    ]
    edges = np.cumsum([len(piece) // 2 for piece in pieces])
    pauses = tuple((int(edge) - 4000, int(edge) + 4000) for edge in edges[:2])
    return hindi._replace(pcm=b"".join(pieces), tasks=("transcribe", "translate"), pauses=pauses)


def place(window, number):
    found = stretches(window)[number]
    return found.start, found.end


def test_each_turn_of_a_window_is_heard_in_its_own_language_alone_and_in_any_batch(demo_model, mixed, turned):
    [alone] = hear([turned], demo_model)
    assert [segment.language for segment in alone.texts["transcribe"]] == ["hi", "en", "hi"]
    assert [segment.language for segment in alone.texts["translate"]] == ["en"] * 3
    assert texts(alone)[1] == texts(alone, "translate")[1] in texts(hear(mixed[1:2], demo_model)[0])
    assert {texts(alone)[0], texts(alone)[2]} <= set(texts(hear(mixed[:1], demo_model)[0]))
    times = [time for segment in alone.texts["transcribe"] for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert times[-1] <= turned.duration_s
    assert alone.language == "hi"
    together = hear([mixed[1], turned, mixed[0]], demo_model)
    assert (together[1].texts, together[1].language) == (alone.texts, alone.language)
    assert [together[0].texts, together[2].texts] == [heard.texts for heard in hear([mixed[1], mixed[0]], demo_model)]


def test_a_window_in_one_language_is_what_it_would_be_without_its_pauses(monkeypatch, demo_model, mixed):
    assert all(len(window.pauses) > 1 for window in mixed)
    without = hear([window._replace(pauses=()) for window in mixed], demo_model)
    assert [heard._replace(infer_s=0) for heard in hear(mixed, demo_model)] == [
        heard._replace(infer_s=0) for heard in without
    ]
    monkeypatch.setattr(window_model, "DOUBT", 1.1)  # every stretch is looked at by itself
    assert [heard.texts for heard in hear(mixed, demo_model)] == [heard.texts for heard in without]


@pytest.mark.parametrize("settings", [{"language": "hi"}, {"languages": ("hi",)}])
def test_a_window_is_not_taken_apart_where_its_language_is_given(turned, settings):
    [heard] = hear([turned], demo_handler(**settings).load_model())
    assert {segment.language for segment in heard.texts["transcribe"]} == {"hi"}


@pytest.mark.parametrize("kind", ["zeros", "noise", "hum"])
def test_a_window_without_speech_says_so(demo_model, kind):
    time = np.arange(6 * 16_000) / 16_000
    noise = np.random.default_rng(1).normal(0, 300, len(time))
    samples = {"zeros": 0 * time, "noise": noise, "hum": 3000 * np.sin(2 * np.pi * 50 * time)}[kind]
    window = windows_of("letter.flac")[0]._replace(pcm=samples.astype("<i2").tobytes())
    assert hear([window], demo_model)[0].no_speech_prob > 0.9


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.iterdir() if path.suffix != ".json"))
def test_right_speech_has_no_verdict(demo_model, name):
    heard = [window for window in windows_of(name, ("transcribe", "translate")) if window.pcm]
    assert heard
    assert [each.transcription.verdict for each in demo_handler().run_inference(heard, demo_model)] == [None] * len(
        heard
    )


def test_a_text_that_runs_into_the_token_limit_is_said_to_be_cut(monkeypatch, mixed):
    model = demo_handler(batch_size=1).load_model()
    monkeypatch.setattr(model._model.config, "max_target_positions", 8)
    assert hear(mixed[:1], model)[0].truncated
    monkeypatch.undo()
    assert not hear(mixed[:1], model)[0].truncated


def test_an_english_only_checkpoint_needs_no_language(tmp_path, mixed):
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "english")
    settings = json.loads((folder / "generation_config.json").read_text())
    for name in ("lang_to_id", "task_to_id"):
        del settings[name]
    (folder / "generation_config.json").write_text(json.dumps({**settings, "is_multilingual": False}))
    model = WhisperEngine(WhisperSettings(describe(str(folder)), device="cpu")).load()
    heard = hear(mixed, model)
    assert [(each.language, each.error) for each in heard] == [("en", "")] * 3


def test_a_checkpoint_without_a_generation_config_is_read_from_its_tokenizer(demo_model, tmp_path, mixed):
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "old")
    (folder / "generation_config.json").unlink()
    model = WhisperEngine(WhisperSettings(describe(str(folder)), device="cpu", languages=("hi", "en"))).load()
    assert [each.texts for each in hear(mixed, model)] == [each.texts for each in hear(mixed, demo_model)]


def test_a_language_that_the_model_cannot_be_told_fails_once_and_not_on_every_window():
    with pytest.raises(ModelError, match="does not know the language 'xx'"):
        demo_handler(languages=("hi", "xx")).engine.load()


def test_a_folder_that_cannot_be_loaded_is_said_to_be(tmp_path):
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "broken")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot load the model"):
        WhisperEngine(WhisperSettings(describe(str(folder)), device="cpu")).load()
