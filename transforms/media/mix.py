"""Mixes all channels of a recording into one without losing speech where channels cancel each other.

ffmpeg's mix is taken as it is. But channels of opposite polarity (a cable that is wired wrongly, an effect that makes
speech "wide") cancel each other in it; and of channels that stand nowhere, ffmpeg mixes none, or leaves out the one
that would be the subwoofer's. What is taken is decided for each second of the decoder's sound by itself, so all
chunks of a recording decide alike.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import ffmpeg
import numpy as np

from transforms.records import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

PART = SAMPLE_RATE_HZ  # samples that are decided on together
BLOCK = 16 * PART
# of the left channel's power: a mix of less is none. Without a left there is nothing to compare
CANCELLED = 10**-1.5
# power of a left channel of two in the last bits of 16, of which the mix may keep none
NOTHING = 4.0
# of the power that the mix of channels has which know nothing of each other
OUT_OF_STEP = 10**-1.2
MOST = 64  # channels that ffmpeg's filters take
# of the loudest channel's power: those below it have nothing to say
HEARD = 10**-2.0


class Decodes(Protocol):
    """What is needed of a decoder here."""

    def blocks(self, samples: int) -> Iterator[bytes]:
        """The sound in blocks of so many samples, all channels counted."""

    def unplaced(self) -> int:
        """The number of channels of which nobody knows where they stand; else 0."""


D = TypeVar("D", bound=Decodes)


def mix_and_left(track: Any, even: Callable[[Any], Any]) -> Any:
    """The filters that give two channels of a track: ffmpeg's own mix of all, and the left of two.

    Args:
        even: adds the filter, an `aresample`, that does the rest. Each channel has one of its own: a format that is
            wanted behind both would be made before they part.
    """
    split, wanted = track.filter_multi_output("asplit"), {"sample_fmts": "s16", "sample_rates": SAMPLE_RATE_HZ}
    mix = even(split[0]).filter("aformat", channel_layouts="mono", **wanted)
    left = even(split[1]).filter("aformat", channel_layouts="stereo", **wanted).filter("pan", "mono|c0<c0")
    return ffmpeg.filter([mix, left], "amerge")


@contextlib.contextmanager
def mixed(start: Callable[[int], AbstractContextManager[D]]) -> Iterator[tuple[D, Iterator[bytes]]]:
    """A decoder and its sound in one channel.

    Args:
        start: starts a decoder, for `mix_and_left` when given 0, else for so many channels as they are.
    """
    with start(0) as decoder:
        blocks = decoder.blocks(2 * BLOCK)
        first = next(blocks, b"")
        channels = decoder.unplaced()
        if not 0 < channels <= MOST:
            yield decoder, map(one_of_two, itertools.chain([first], blocks))
            return
    with start(channels) as decoder:
        yield decoder, (one_of_many(block, channels) for block in decoder.blocks(channels * BLOCK))


def one_of_two(block: bytes) -> bytes:
    """The mix, but where it cancels the left channel, of a block that holds both."""
    return b"".join(_one_of_two(part) for part in _parts(block, 2))


def one_of_many(block: bytes, channels: int) -> bytes:
    """The mean of the channels that have something to say, or the loudest where that cancels."""
    return b"".join(_one_of_many(part) for part in _parts(block, channels))


def _parts(block: bytes, channels: int) -> Iterator[np.ndarray]:
    """int16[≤ PART, channels]: what is decided on together. A decoder may end within a sample of all channels."""
    whole = len(block) // (BYTES_PER_SAMPLE * channels) * channels
    sound = np.frombuffer(block, np.int16, whole).reshape(-1, channels)
    return (sound[at : at + PART] for at in range(0, len(sound), PART))


def _one_of_two(part: np.ndarray) -> bytes:
    mix, left = _power(part)
    return part[:, 1 if left > NOTHING and mix < CANCELLED * left else 0].tobytes()


def _one_of_many(part: np.ndarray) -> bytes:
    power = _power(part)
    heard = np.flatnonzero(power >= HEARD * power.max())
    mix = np.round(part[:, heard].mean(axis=1)).astype(np.int16)
    if _power(mix) < OUT_OF_STEP * power[heard].sum() / len(heard) ** 2:
        mix = part[:, np.argmax(power)]
    return mix.tobytes()


def _power(samples: np.ndarray) -> np.ndarray:
    return (samples.astype(np.float64) ** 2).mean(axis=0)
