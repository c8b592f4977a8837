"""Windows of speech: none too long, no speech lost or heard twice, cut where nobody speaks."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from transforms.media.voice_activity import FRAME_SAMPLES
from transforms.media.windows import FRAME_S, Window, WindowConfig, WindowCutter, quietest
from transforms.records import SAMPLE_RATE_HZ

SPEECH, SILENCE = 0.9, 0.05
SEEDS = range(24)


def frames(seconds: float) -> int:
    return round(seconds / FRAME_S)


def talk(*turns: tuple[float, float]) -> np.ndarray:
    """Probabilities of frames: so many seconds of each probability."""
    return np.concatenate([np.full(frames(seconds), probability, np.float32) for seconds, probability in turns])


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Audio of so many frames, every sample of which tells its place."""
    return np.random.default_rng(seed).integers(-9000, 9000, count * FRAME_SAMPLES, dtype=np.int16)


def cut(voice: np.ndarray, audio: np.ndarray, config: WindowConfig, block: int = 10_000) -> list[Window]:
    """The windows of a stream that is fed so many frames at a time."""
    cutter, windows = WindowCutter(config), []
    for start in range(0, len(voice), block):
        pcm = audio[start * FRAME_SAMPLES : (start + block) * FRAME_SAMPLES]
        windows += cutter.feed(pcm.tobytes(), voice[start : start + block])
    return [*windows, *cutter.finish()]


def spans(windows: list[Window]) -> list[tuple[int, int]]:
    """First sample, and the sample behind the last, of each window."""
    return [(window.start_sample, window.start_sample + len(window.pcm) // 2) for window in windows]


def conversation(seed: int) -> tuple[np.ndarray, np.ndarray, WindowConfig]:
    """Talk with turns and pauses of any length, and a limit that it may or may not fit."""
    rng = np.random.default_rng(seed)
    turns = [(rng.uniform(*seconds), chance) for seconds, chance in [((0.2, 14), SPEECH), ((0.04, 4), SILENCE)] * 12]
    voice = talk((rng.uniform(0, 3), SILENCE), *turns)
    audio = noise(len(voice), seed)[: len(voice) * FRAME_SAMPLES - int(rng.integers(0, FRAME_SAMPLES))]
    return voice, audio, WindowConfig(max_window_s=float(rng.choice([1.5, 4, 8, 30])))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_window_is_longer_than_the_limit(seed):
    voice, audio, config = conversation(seed)
    windows = cut(voice, audio, config)
    assert windows
    assert all(0 < len(window.pcm) / 2 <= config.max_window_s * SAMPLE_RATE_HZ for window in windows)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_window_holds_exactly_the_audio_of_its_place(seed):
    voice, audio, config = conversation(seed)
    windows = cut(voice, audio, config)
    for window, (start, end) in zip(windows, spans(windows), strict=True):
        assert window.pcm == audio[start:end].tobytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_windows_come_in_order_and_never_overlap(seed):
    voice, audio, config = conversation(seed)
    for (_, end), (start, _) in itertools.pairwise(spans(cut(voice, audio, config))):
        assert end <= start


@pytest.mark.parametrize("seed", SEEDS)
def test_every_frame_of_speech_is_in_exactly_one_window(seed):
    voice, audio, config = conversation(seed)
    covered = np.zeros(len(audio), np.int8)
    for start, end in spans(cut(voice, audio, config)):
        covered[start:end] += 1
    spoken = np.repeat(voice == np.float32(SPEECH), FRAME_SAMPLES)[: len(audio)]
    assert np.unique(covered[spoken]).tolist() == [1]


@pytest.mark.parametrize("seed", SEEDS[:8])
@pytest.mark.parametrize("block", [1, 7, 512])
def test_feeding_block_by_block_gives_the_same_windows_as_at_once(seed, block):
    voice, audio, config = conversation(seed)
    assert cut(voice, audio, config, block) == cut(voice, audio, config)


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_windows_say_how_much_speech_they_hold(seed):
    voice, audio, config = conversation(seed)
    windows = cut(voice, audio, config)
    assert all(0 < window.speech_s <= len(window.pcm) / 2 / SAMPLE_RATE_HZ + FRAME_S for window in windows)
    spoken = float((voice == np.float32(SPEECH)).sum() * FRAME_S)
    short_pauses = frames(4) * 12 * FRAME_S
    assert spoken - 1 <= sum(window.speech_s for window in windows) <= spoken + short_pauses


def test_sentences_with_pauses_share_a_window_until_it_is_full():
    voice = talk(*[(2.0, SPEECH), (1.0, SILENCE)] * 6)
    assert len(cut(voice, noise(len(voice)), WindowConfig(max_window_s=30))) == 1
    for_eight = cut(voice, noise(len(voice)), WindowConfig(max_window_s=6))
    assert [round(window.speech_s) for window in for_eight] == [4, 4, 4]


def test_a_window_says_where_its_long_pauses_are():
    turns = [(2.0, SPEECH), (0.8, SILENCE), (2.0, SPEECH), (0.35, SILENCE), (2.0, SPEECH), (1.5, SILENCE)]
    voice = talk((3.0, SILENCE), *turns, (2.0, SPEECH))
    [window] = cut(voice, noise(len(voice)), WindowConfig())
    placed = [tuple((window.start_sample + at) // FRAME_SAMPLES for at in pause) for pause in window.pauses]
    first = frames(3.0) + frames(2.0)
    second = first + frames(0.8) + frames(2.0) + frames(0.35) + frames(2.0)
    assert placed == [(first, first + frames(0.8)), (second, second + frames(1.5))]


def test_a_window_of_speech_without_a_long_pause_has_none():
    voice = talk((5, SPEECH), (0.4, SILENCE), (15, SPEECH), (5, SILENCE), (1, SPEECH))
    assert {window.pauses for window in cut(voice, noise(len(voice)), WindowConfig(max_window_s=8))} == {()}


@pytest.mark.parametrize("seed", SEEDS)
def test_long_pauses_lie_within_their_window_in_order(seed):
    for window in cut(*conversation(seed)):
        places = [0, *itertools.chain(*window.pauses), len(window.pcm) // 2]
        assert all(before < after for before, after in itertools.pairwise(places))


def test_a_long_silence_ends_a_window_and_is_left_out():
    voice = talk((1.0, SPEECH), (10.0, SILENCE), (1.0, SPEECH))
    windows = cut(voice, noise(len(voice)), WindowConfig())
    assert [round(window.start_sample / SAMPLE_RATE_HZ) for window in windows] == [0, 11]
    assert all(len(window.pcm) / 2 / SAMPLE_RATE_HZ < 1.5 for window in windows)


def test_speech_is_padded_on_both_sides_but_not_beyond_the_stream():
    voice = talk((1.0, SILENCE), (1.0, SPEECH), (1.0, SILENCE))
    [(start, end)] = spans(cut(voice, noise(len(voice)), WindowConfig(pad_s=0.2)))
    pad = frames(0.2) * FRAME_SAMPLES
    assert (start, end) == (frames(1) * FRAME_SAMPLES - pad, 2 * frames(1) * FRAME_SAMPLES + pad)
    everything = talk((1.0, SPEECH))
    assert spans(cut(everything, noise(len(everything)), WindowConfig())) == [(0, len(everything) * FRAME_SAMPLES)]


@pytest.mark.parametrize("voice", [talk((3, SILENCE)), talk((1, SILENCE), (0.06, SPEECH), (1, SILENCE)), np.zeros(0)])
def test_silence_clicks_and_nothing_give_no_window(voice):
    assert cut(voice, noise(len(voice)), WindowConfig()) == []


def test_a_hesitation_keeps_speech_going_but_does_not_start_it():
    hesitant = 0.4  # between the threshold and 0.15 below it
    voice = talk((1, hesitant), (1, SPEECH), (1, hesitant), (1, SILENCE))
    [window] = cut(voice, noise(len(voice)), WindowConfig(pad_s=0))
    assert (window.start_sample, window.speech_s) == (frames(1) * FRAME_SAMPLES, pytest.approx(2, abs=0.1))


@pytest.mark.parametrize("block", [1, 100, 10_000])
def test_long_speech_without_a_pause_is_split_at_its_quietest_place(block):
    config = WindowConfig(max_window_s=8, pad_s=0)
    voice = talk((20, SPEECH))
    audio = noise(len(voice))
    quiet = frames(6)  # in the second half of the first window
    audio[(quiet - 3) * FRAME_SAMPLES : (quiet + 3) * FRAME_SAMPLES] //= 100
    windows = cut(voice, audio, config, block)
    assert abs(spans(windows)[0][1] / FRAME_SAMPLES - quiet) <= 2
    assert b"".join(window.pcm for window in windows) == audio.tobytes()


def test_long_speech_is_split_where_speech_is_least_likely():
    voice = talk((5, SPEECH), (0.2, 0.4), (15, SPEECH))
    windows = cut(voice, noise(len(voice)), WindowConfig(max_window_s=8))
    assert 5.0 <= spans(windows)[0][1] / SAMPLE_RATE_HZ <= 5.2


def test_the_first_half_of_a_window_is_never_split_off():
    voice = talk((1, SPEECH), (0.2, 0.4), (9, SPEECH))
    windows = cut(voice, noise(len(voice)), WindowConfig(max_window_s=8))
    assert spans(windows)[0][1] / SAMPLE_RATE_HZ > 3.5


@pytest.mark.parametrize("tail_frames", range(1, 6))
def test_the_last_syllable_behind_a_split_is_not_lost(tail_frames):
    config = WindowConfig(max_window_s=4)
    room = int(4 / FRAME_S) - 2 * frames(0.2)
    voice = np.concatenate([talk((10, SPEECH))[: room - tail_frames - 2], [0.36] * 2, [SPEECH] * tail_frames])
    voice = np.concatenate([voice.astype(np.float32), talk((2, SILENCE))])
    last_spoken = int(np.flatnonzero(voice == np.float32(SPEECH))[-1]) + 1
    assert spans(cut(voice, noise(len(voice)), config))[-1][1] >= last_spoken * FRAME_SAMPLES


def test_what_is_held_does_not_grow_with_the_stream():
    cutter, held = WindowCutter(WindowConfig(max_window_s=8)), 0
    for seed in range(40):
        voice, audio, _ = conversation(seed)
        pcm = np.resize(audio, len(voice) * FRAME_SAMPLES).tobytes()
        for start in range(0, len(voice), 100):
            block = pcm[start * FRAME_SAMPLES * 2 : (start + 100) * FRAME_SAMPLES * 2]
            list(cutter.feed(block, voice[start : start + 100]))
            held = max(held, len(pickle.dumps(cutter)))
    two_windows_a_pause_and_a_block_s = 2 * 8 + 2.2 + 3.2
    assert held < two_windows_a_pause_and_a_block_s * SAMPLE_RATE_HZ * 2 + 10_000


@pytest.mark.parametrize("max_window_s", [0, 0.9, -3])
def test_a_window_too_short_for_a_word_is_refused(max_window_s):
    with pytest.raises(ValueError, match="at least 1 second"):
        WindowConfig(max_window_s=max_window_s)


def test_the_shortest_window_works():
    voice = talk((10, SPEECH))
    windows = cut(voice, noise(len(voice)), WindowConfig(max_window_s=1))
    assert max(end - start for start, end in spans(windows)) <= SAMPLE_RATE_HZ


def test_the_quietest_place_is_an_average_and_not_a_single_frame():
    loud = np.ones(40, np.float32)
    probabilities = np.full(40, SPEECH, np.float32)
    probabilities[5] = 0.2  # one frame only
    probabilities[20:25] = 0.5
    assert quietest(probabilities, loud) == 22


def test_among_frames_alike_the_softest_is_quietest():
    loudness = np.ones(40, np.float32)
    loudness[30:35] = 0.1
    assert quietest(np.full(40, SPEECH, np.float32), loudness) == 32
    assert quietest(np.full(40, SPEECH, np.float32), np.zeros(40, np.float32)) == 0  # digital silence
