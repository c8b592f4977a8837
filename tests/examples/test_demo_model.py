"""The demo model on a small fixed part of its evaluation: voices and sentences it never heard."""

import json
import pathlib
import subprocess

import jiwer
import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from transforms.engines.catalog import DEMO_FOLDER
from transforms.media.ffmpeg_command import find_ffmpeg

pytestmark = pytest.mark.long(55)

WINDOWS = pathlib.Path(__file__).parents[1] / "data" / "demo_model"
SAMPLE_RATE_HZ = 16_000
NO_SPEECH = 0.6
NEAR_S = 0.25


@pytest.fixture(scope="module")
def windows():
    """The truth of each window, with its samples: float32[n_samples]."""
    command = [find_ffmpeg(), "-loglevel", "error", "-i", str(WINDOWS / "windows.opus")]
    command += ["-f", "f32le", "-ar", str(SAMPLE_RATE_HZ), "-"]
    samples = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "f4")
    rows = json.loads((WINDOWS / "windows.json").read_text(encoding="utf-8"))
    return [{**row, "samples": samples[row["start"] :][: row["length"]]} for row in rows]


@pytest.fixture(scope="module")
def model():
    model = WhisperForConditionalGeneration.from_pretrained(DEMO_FOLDER, dtype=torch.float32)
    return model.eval(), WhisperProcessor.from_pretrained(DEMO_FOLDER)


@pytest.fixture(scope="module")
def speech(windows):
    return [window for window in windows if window["spoken"]]


def features(processor, windows):
    sounds = [window["samples"] for window in windows]
    return processor(sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt").input_features


def first_token_scores(model, windows):
    """Return (scores of the first token, float32[n_windows, n_tokens], its tokenizer)."""
    whisper, processor = model
    start = torch.full((len(windows), 1), whisper.config.decoder_start_token_id)
    with torch.inference_mode():
        out = whisper(input_features=features(processor, windows), decoder_input_ids=start)
    return out.logits[:, 0], processor.tokenizer


def generate(model, windows, task):
    """Return (start_s, end_s, text) of each utterance of each window."""
    whisper, processor = model
    tokens = whisper.generate(
        features(processor, windows),
        language=[window["language"] for window in windows],
        task=task,
        return_timestamps=True,
    )
    decode = processor.tokenizer.decode
    results = []
    for row in tokens:
        chunks = decode(row, output_offsets=True, skip_special_tokens=True)["offsets"]
        results.append([(*chunk["timestamp"], chunk["text"].strip()) for chunk in chunks])
    return results


def words(segments):
    return " ".join(text for _, _, text in segments)


def truth(windows, key):
    return [" ".join(spoken[key] for spoken in window["spoken"]) for window in windows]


@pytest.mark.parametrize("language", ["hi", "en"])
def test_unheard_voices_saying_unheard_sentences_become_their_words(model, speech, language):
    windows = [window for window in speech if window["language"] == language]
    heard = generate(model, windows, "transcribe")
    assert jiwer.wer(truth(windows, "text"), [words(one) for one in heard]) <= 0.05


def test_hindi_becomes_its_english_translation(model, speech):
    windows = [window for window in speech if window["language"] == "hi"]
    heard = generate(model, windows, "translate")
    assert jiwer.wer(truth(windows, "translation"), [words(one) for one in heard]) <= 0.1


def test_utterances_start_and_end_where_they_were_spoken(model, speech):
    near, edges = 0, 0
    for window, heard in zip(speech, generate(model, speech, "transcribe"), strict=True):
        edges += 2 * len(window["spoken"])
        if len(heard) == len(window["spoken"]):
            for spoken, (start_s, end_s, _) in zip(window["spoken"], heard, strict=True):
                near += abs(spoken["start_s"] - start_s) <= NEAR_S
                near += abs(spoken["end_s"] - end_s) <= NEAR_S
    assert near / edges >= 0.95


def test_the_first_token_is_the_language_that_is_spoken(model, speech):
    scores, tokenizer = first_token_scores(model, speech)
    languages = [f"<|{window['language']}|>" for window in speech]
    assert tokenizer.convert_ids_to_tokens(scores.argmax(-1).tolist()) == languages


def test_silence_noise_tones_and_hum_are_no_speech(model, windows):
    silent = [window for window in windows if not window["spoken"]]
    scores, tokenizer = first_token_scores(model, silent)
    no_speech = scores.softmax(-1)[:, tokenizer.convert_tokens_to_ids("<|nospeech|>")]
    assert len(silent) == 6
    assert no_speech.min() > NO_SPEECH
