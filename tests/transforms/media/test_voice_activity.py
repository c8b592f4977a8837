"""Voice activity on real speech: the words of the sample media are found, silence is not taken for speech."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, SAMPLES, TRUTH
from transforms.media import ffmpeg
from transforms.media.ffmpeg_command import DecodeRequest
from transforms.media.voice_activity import BLOCK_SAMPLES, FRAME_SAMPLES, VoiceActivity
from transforms.media.windows import FRAME_S


@pytest.fixture(scope="module")
def letter() -> np.ndarray:
    with ffmpeg.Decoder(f"file:{SAMPLES / 'letter.flac'}", "file", DecodeRequest(), 30) as decoder:
        return np.frombuffer(b"".join(decoder.blocks(BLOCK_SAMPLES)), np.int16)


def probabilities(audio: np.ndarray, block: int) -> np.ndarray:
    voice = VoiceActivity()
    return np.concatenate(
        [voice.probabilities(audio[at : at + block].tobytes()) for at in range(0, len(audio), block)]
    )


def test_every_utterance_is_heard_and_the_silence_around_it_is_not(letter):
    voice = probabilities(letter, BLOCK_SAMPLES)
    spoken = np.zeros(len(voice), bool)
    for utterance in TRUTH["letter.flac"]["utterances"]:
        start, end = (round(utterance[key] / FRAME_S) for key in ("start", "end"))
        spoken[start:end] = True
        assert (voice[start:end] > 0.5).mean() > 0.7
    assert (voice[~spoken] > 0.5).mean() < 0.35


@pytest.mark.parametrize("block_frames", [1, 10, 100, 512])
def test_blocks_of_any_number_of_frames_give_the_same_figures(letter, block_frames):
    found = probabilities(letter, block_frames * FRAME_SAMPLES)
    np.testing.assert_allclose(found, probabilities(letter, len(letter)), atol=0.0021)


def test_two_passes_give_equal_figures_rounded_to_three_decimals(letter):
    first = probabilities(letter, BLOCK_SAMPLES)
    assert np.array_equal(first, probabilities(letter, BLOCK_SAMPLES))
    assert np.array_equal(first, np.round(first, 3))
    assert (first.min() >= 0) and (first.max() <= 1)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (512, 1), (513, 2), (16_000, 32)])
def test_each_frame_has_one_figure_and_the_last_is_padded(samples, frames):
    assert len(VoiceActivity().probabilities(np.zeros(samples, np.int16).tobytes())) == frames


def test_silence_and_hum_are_no_speech():
    time = np.arange(5 * 16_000) / 16_000
    hum = (3000 * np.sin(2 * np.pi * 50 * time)).astype(np.int16)
    for sound in (np.zeros_like(hum), hum):
        assert probabilities(sound, BLOCK_SAMPLES).max() < 0.5


def test_streams_do_not_share_their_memory(letter):
    alone = probabilities(letter, BLOCK_SAMPLES)
    one, other = VoiceActivity(), VoiceActivity()
    block, found = 20 * FRAME_SAMPLES, []
    for at in range(0, len(letter), block):
        found.append(one.probabilities(letter[at : at + block].tobytes()))
        other.probabilities(letter[::-1][at : at + block].tobytes())
    np.testing.assert_allclose(np.concatenate(found), alone, atol=0.0021)


def test_the_voice_activity_model_needs_no_torch():
    code = (
        "import sys; from transforms.media.voice_activity import VoiceActivity;"
        "VoiceActivity().probabilities(bytes(1024)); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=SAMPLES.parent.parent).returncode == 0


def test_the_library_never_hears_that_it_may_report_home():
    code = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "onnxruntime":
            print("imported with", os.environ["ORT_DISABLE_TELEMETRY"])
sys.meta_path.insert(0, Watch())
import transforms.media.voice_activity as voice
import onnxruntime
onnxruntime.disable_telemetry_events = lambda: print("switched off")
voice._session()
"""
    first_by_us = code.replace("import onnxruntime\n", "").replace("onnxruntime.disable", "voice.np.disable")
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    run = functools.partial(subprocess.run, capture_output=True, text=True, cwd=ROOT)
    done = run([sys.executable, "-c", first_by_us], env=environment)
    assert done.stdout == "imported with 1\n", done.stderr
    done = run([sys.executable, "-c", code], env={**environment, "ORT_DISABLE_TELEMETRY": "0"})
    assert done.stdout == "imported with 0\nswitched off\n", done.stderr
