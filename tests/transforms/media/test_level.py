"""Sound at a level at which speech is heard: only what is too quiet is raised."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.conftest import SAMPLES, pcm_of
from transforms.media.level import FRAME_S, LevelAdjuster, amplified, problems_of
from transforms.media.voice_activity import BLOCK_SAMPLES, FRAME_SAMPLES, VoiceActivity
from transforms.records import SAMPLE_RATE_HZ

SECONDS = 40
PLACES = np.arange(SECONDS * SAMPLE_RATE_HZ)
CLOCK = PLACES / SAMPLE_RATE_HZ
QUIET_DB = (-40, -50, -60)


def heard(samples: np.ndarray, size: int = BLOCK_SAMPLES) -> tuple[np.ndarray, np.ndarray, LevelAdjuster]:
    """What a listener gives back, and itself."""
    adjuster, pcm = LevelAdjuster(), samples.astype(np.int16).tobytes()
    given = [adjuster.hear(pcm[at : at + 2 * size]) for at in range(0, len(pcm), 2 * size)] + [adjuster.finish()]
    for (given_pcm, given_probabilities), _ in itertools.pairwise(given):
        assert len(given_pcm) == 2 * FRAME_SAMPLES * len(given_probabilities)
    together = b"".join(each for each, _ in given)
    return np.frombuffer(together, np.int16), np.concatenate([each for _, each in given]), adjuster


def at_db(samples: np.ndarray, db: float) -> np.ndarray:
    return np.round(samples * 10 ** (db / 20))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return pcm_of(SAMPLES / "letter.flac")


def coloured(power: float) -> np.ndarray:
    """Noise of this fall of power with frequency: 0 white, 1 pink, 2 brown; root mean square 1."""
    spectrum = np.fft.rfft(np.random.default_rng(1).normal(size=len(PLACES)))
    fall = np.maximum(np.arange(len(spectrum)), 20 * SECONDS) ** (power / 2)
    noise = np.fft.irfft(spectrum / fall, len(PLACES))
    return noise / noise.std()


NOISES = {
    "white": coloured(0),
    "pink": coloured(1),
    "brown": coloured(2),
    "hum": np.sin(2 * np.pi * 50 * CLOCK) + 0.2 * np.sin(2 * np.pi * 150 * CLOCK),
    "dial tone": (np.sin(2 * np.pi * 350 * CLOCK) + np.sin(2 * np.pi * 440 * CLOCK)) * (CLOCK % 4 < 2),
    "beeps": np.sin(2 * np.pi * 1000 * CLOCK) * (CLOCK % 1 < 0.1),
    "clicks": 30.0 * (PLACES % 7919 == 0),
}


@pytest.mark.parametrize("name", ["letter.flac", "office.mp3", "market.mp4", "five minutes.opus"])
def test_sound_at_a_usual_level_stays_what_it_is(name):
    samples = pcm_of(SAMPLES / name)
    voice, pcm = VoiceActivity(), samples.tobytes()
    as_it_is = [voice.probabilities(pcm[at : at + 2 * BLOCK_SAMPLES]) for at in range(0, len(pcm), 2 * BLOCK_SAMPLES)]
    given, probabilities, adjuster = heard(samples)
    assert np.array_equal(given, samples)
    assert np.array_equal(probabilities, np.concatenate(as_it_is))
    assert adjuster.raised_s == 0


@pytest.mark.parametrize("db", QUIET_DB)
def test_quiet_speech_is_raised_and_heard_where_it_is_spoken(speech, db):
    _, usual, _ = heard(speech)
    given, probabilities, adjuster = heard(at_db(speech, db))
    assert len(given) == len(speech)
    assert np.mean((probabilities > 0.5) == (usual > 0.5)) > 0.93
    spoken = np.repeat(probabilities > 0.5, FRAME_SAMPLES)[: len(given)]
    rms_db = 20 * np.log10(given[spoken].astype(float).std() / 32768)
    assert -36 < rms_db < -20
    assert adjuster.raised_s == pytest.approx((usual > 0.5).sum() * FRAME_S, rel=0.3)


def test_quiet_speech_right_behind_loud_speech_is_heard_too(speech):
    _, usual, _ = heard(speech)
    given, probabilities, _ = heard(np.concatenate([speech, at_db(speech, -40)]))
    assert np.array_equal(given[: len(speech) - SAMPLE_RATE_HZ], speech[:-SAMPLE_RATE_HZ])
    assert probabilities[len(usual) :].sum() > 0.8 * usual.sum()


def test_clicks_do_not_hide_quiet_speech(speech):
    clicks = np.zeros(len(speech))
    clicks[:: SAMPLE_RATE_HZ // 2] = 25_000
    _, usual, _ = heard(speech)
    _, probabilities, _ = heard(at_db(speech, -45) + clicks)
    assert (probabilities > 0.5).sum() > 0.7 * (usual > 0.5).sum()


@pytest.mark.parametrize("db", [-25, -40, -50, -60, -75, -90])
@pytest.mark.parametrize("name", NOISES)
def test_nobody_speaks_in_noise_of_any_level(name, db):
    given, probabilities, adjuster = heard(at_db(NOISES[name] * 32767, db).clip(-32768, 32767))
    assert (probabilities > 0.5).sum() * FRAME_S < 0.1
    assert adjuster.raised_s < 0.3
    assert len(given) == len(PLACES)


def test_what_comes_out_does_not_depend_on_the_blocks(speech):
    quiet = np.concatenate([at_db(speech, -50), speech, at_db(speech, -35)])
    given, probabilities, _ = heard(quiet)
    for frames in (1, 10, 100):
        again, as_well, _ = heard(quiet, frames * FRAME_SAMPLES)
        assert np.abs(as_well - probabilities).max() < 0.01
        assert np.mean(again != given) < 0.001


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 20_000])
def test_streams_of_any_length_come_back_whole(samples):
    given, probabilities, _ = heard(np.full(samples, 5))
    assert (len(given), len(probabilities)) == (samples, -(-samples // FRAME_SAMPLES))


def test_a_gain_comes_over_a_frame_and_too_loud_samples_are_clipped():
    pcm = np.full(3 * FRAME_SAMPLES, 2000, np.int16)
    raised = amplified(pcm, np.array([0.0, 20.0, 40.0]), 0.0)
    assert set(raised[:FRAME_SAMPLES]) == {2000}
    assert list(np.diff(raised.astype(int)) >= 0) == [True] * (len(pcm) - 1)
    assert raised[2 * FRAME_SAMPLES - 1] == 20_000
    assert raised[-1] == 32_767


@pytest.mark.parametrize(("raised_s", "told"), [(0.0, False), (1.9, False), (2.0, True), (10.0, True)])
def test_it_is_told_where_a_fifth_of_the_speech_was_raised(raised_s, told):
    adjuster = LevelAdjuster()
    adjuster.raised_s, adjuster.raised_by = raised_s, 40 * raised_s
    problems = problems_of([adjuster], 10.0)
    assert [(each.where, each.code) for each in problems] == [("media", "quiet")] * told
    if told:
        assert "about 40 dB too quiet" in problems[0].message
