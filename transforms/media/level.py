"""Raises speech that is far too quiet to a level that the model hears; all other sound stays as it is.

A recorder on the wrong gain, or somebody far from the microphone, leaves speech 30 to 60 dB below what models know.
So wherever nothing reaches the level of speech for a second, voice activity is looked for once more in the sound as
raised, with a gain that follows the loudest of the second before and behind. Where it finds speech, the raised sound
goes on. A frame's gain depends on the 1.1 s around it alone, not on how the sound came in blocks.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from transforms.media.voice_activity import FRAME_SAMPLES, VoiceActivity
from transforms.records import SAMPLE_RATE_HZ, Problem

# a frame of this root mean square (full scale 0) is heard as it is
LOUD_DB = -38.0
RAISED_DB = -23.0  # what the loudest frame of quiet speech is raised to, ...
MOST_DB = 60.0  # ... but by no more
NOTHING_DB = -86.0  # below it are the last bits of 16
SILENCE_DB = -200.0
# frames of which the middle one in loudness counts: a click is shorter than half of them
CLICK = 5
NEAR = 3  # frames on both sides of a loud one that belong to it
STRETCH = 31  # frames, a second, that a quiet stretch lasts at least
AROUND = 31  # frames on both sides whose loudest sets the gain
REPORTED_SHARE = 0.2  # of the speech: where so much was raised, it is told
# probability from which a frame of the raised sound is speech
SPEECH = 0.35
SPOKEN = 7  # frames that speech lasts at least
# frames on both sides of speech that are raised with it: onsets are quieter still
HOLD = 7
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
EDGE = HOLD + SPOKEN - 1  # frames around one that it depends on whether it is raised
AHEAD = CLICK // 2 + max(NEAR + STRETCH, AROUND)  # frames around one that its gain depends on


class LevelAdjuster:
    """Raises quiet speech in one stream of audio, block by block. Its output is delayed by 1.6 s, of equal length.

    Attributes:
        raised_s: seconds of speech that were raised so far.
        raised_by: their gain in dB times seconds.
    """

    def __init__(self) -> None:
        self._voice, self._second = VoiceActivity(), VoiceActivity()
        self._pcm: np.ndarray = np.zeros(0, np.int16)  # of the frames that were not given back yet, ...
        self._normal: np.ndarray = np.zeros(0, np.float32)  # ... their speech probabilities as they came, and ...
        self._db = np.full(AHEAD, SILENCE_DB)  # ... loudness, with that of AHEAD frames before them
        # in dB, of EDGE frames before them and of the first of them, ...
        self._gain = np.zeros(EDGE)
        self._raised: np.ndarray = np.zeros(EDGE, np.float32)  # ... and speech probabilities as raised
        self._last_gain = 0.0  # of the frame that was given back last
        self.raised_s = self.raised_by = 0.0

    def hear(self, pcm: bytes) -> tuple[bytes, np.ndarray]:
        """Audio in whole frames, and the speech probability of each. All blocks but the last are of one size."""
        samples = np.frombuffer(pcm, np.int16)
        self._pcm = np.concatenate([self._pcm, samples])
        self._normal = np.concatenate([self._normal, self._voice.probabilities(pcm)])
        self._db = np.concatenate([self._db, loudness_db(samples)])
        return self._given_back(len(self._normal) - AHEAD - EDGE)

    def finish(self) -> tuple[bytes, np.ndarray]:
        """What is left when the stream has ended. Its last frame may be no whole one."""
        self._db = np.concatenate([self._db, np.full(AHEAD + EDGE, SILENCE_DB)])
        return self._given_back(len(self._normal))

    def _given_back(self, count: int) -> tuple[bytes, np.ndarray]:
        """The first frames, so many, whose surroundings are known."""
        if count <= 0:
            return b"", np.zeros(0, np.float32)
        self._listen_again(gains(self._db)[len(self._gain) - EDGE : count + EDGE])
        is_speech, heard = _opened(self._raised >= SPEECH, SPOKEN), slice(EDGE, EDGE + count)
        gain = np.where(_around(is_speech, HOLD), self._gain, 0.0)[heard]
        spoken = gain[is_speech[heard]]
        self.raised_s += len(spoken) * FRAME_S
        self.raised_by += float(spoken.sum()) * FRAME_S
        pcm = amplified(self._pcm[: count * FRAME_SAMPLES], gain, self._last_gain)
        probabilities = np.where(
            is_speech[heard], np.maximum(self._normal[:count], self._raised[heard]), self._normal[:count]
        )
        self._last_gain = float(gain[-1])
        self._pcm, self._normal = self._pcm[count * FRAME_SAMPLES :], self._normal[count:]
        self._db, self._gain, self._raised = self._db[count:], self._gain[count:], self._raised[count:]
        return pcm.tobytes(), probabilities

    def _listen_again(self, gain: np.ndarray) -> None:
        """Take in the gains of the next frames, and the speech in them where there is one: each stretch by itself."""
        first, before = len(self._gain) - EDGE, self._gain[-1]
        found = np.zeros(len(gain), np.float32)
        for start, end in runs(gain > 0):
            if start or not before:
                self._second = VoiceActivity()
            pcm = self._pcm[(first + start) * FRAME_SAMPLES : (first + end) * FRAME_SAMPLES]
            if len(pcm):  # the stream may have ended before the stretch does
                raised = amplified(pcm, gain[start:end], before if not start else 0.0)
                heard = self._second.probabilities(raised.tobytes())
                found[start : start + len(heard)] = heard
        self._gain, self._raised = np.concatenate([self._gain, gain]), np.concatenate([self._raised, found])


def problems_of(adjusters: Iterable[LevelAdjuster], speech_s: float) -> tuple[Problem, ...]:
    """What is told of a recording whose speech was too quiet."""
    adjusters = list(adjusters)
    raised_s, raised_by = sum(each.raised_s for each in adjusters), sum(each.raised_by for each in adjusters)
    if not raised_s or raised_s < REPORTED_SHARE * speech_s:
        return ()
    message = f"{raised_s:.1f} seconds of speech are about {raised_by / raised_s:.0f} dB too quiet, and were raised"
    return (Problem("media", "quiet", message),)


def loudness_db(samples: np.ndarray) -> np.ndarray:
    """float64[n_frames]: the root mean square of each frame of int16 samples in dB, full scale 0."""
    padded = np.pad(samples.astype(np.float64) / 32768, (0, -len(samples) % FRAME_SAMPLES))
    power = (padded.reshape(-1, FRAME_SAMPLES) ** 2).mean(axis=1)
    return 10 * np.log10(np.maximum(power, 10 ** (SILENCE_DB / 10)))


def gains(db: np.ndarray) -> np.ndarray:
    """By how much each frame but the first and the last AHEAD is to be raised for speech to be heard in it, in dB."""
    level = np.median(_windows(db, CLICK), axis=1)
    quiet = ~_around(level >= LOUD_DB, NEAR)
    long_enough = _opened(quiet, STRETCH)
    loudest = _windows(np.where(level < LOUD_DB, level, SILENCE_DB), 2 * AROUND + 1).max(axis=1)
    gain = np.where(long_enough & (loudest > NOTHING_DB), np.clip(RAISED_DB - loudest, 0, MOST_DB), 0.0)
    return gain[AHEAD:-AHEAD]


def amplified(pcm: np.ndarray, gain_db: np.ndarray, before_db: float) -> np.ndarray:
    """int16 samples raised frame by frame, each from the gain of the one before it; too loud ones are clipped."""
    gain_db = gain_db[: -(-len(pcm) // FRAME_SAMPLES)]
    if not before_db and not gain_db.any():
        return pcm
    factor = 10 ** (np.concatenate([[before_db], gain_db]) / 20)
    ramps = factor[:-1, None] + np.diff(factor)[:, None] * np.linspace(0, 1, FRAME_SAMPLES)
    return np.clip(np.round(pcm * ramps.reshape(-1)[: len(pcm)]), -32768, 32767).astype(np.int16)


def runs(mask: np.ndarray) -> np.ndarray:
    """int64[n, 2]: start and end of each stretch in which the mask holds."""
    return np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]]).astype(int))).reshape(-1, 2)


def _windows(values: np.ndarray, width: int) -> np.ndarray:
    """The values around each one, of an odd width; at the ends the last one again."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, width // 2, mode="edge"), width)


def _opened(mask: np.ndarray, width: int) -> np.ndarray:
    """Where the mask holds for at least so many places in a row, an odd number; beyond both ends it may."""
    return _around(~_around(~mask, width // 2), width // 2)


def _around(mask: np.ndarray, near: int) -> np.ndarray:
    """Where the mask holds at no more than so many places away."""
    return np.convolve(mask, np.ones(2 * near + 1, int), mode="same") > 0
