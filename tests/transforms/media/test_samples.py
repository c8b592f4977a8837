"""Re-blocking a stream of samples: the same bytes in blocks of one size, whatever the pieces were."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from transforms.media.samples import SKIPPED_AT_ONCE, SampleStream

SOUND = np.random.default_rng(1).bytes(2 * 6_000)


def pieces_of(sound: bytes, size: int) -> list[bytes]:
    return [sound[at : at + size] for at in range(0, len(sound), size)]


@pytest.mark.parametrize("size", [1, 7, 999, 1_000, 5_001, 50_000])
@pytest.mark.parametrize("samples", [1, 500, 999, 6_000, 6_001])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_blocks_are_of_one_size_but_the_last_and_hold_every_byte_in_order(size, samples, channels):
    blocks = list(SampleStream(pieces_of(SOUND, size), channels).blocks(samples))
    assert blocks == pieces_of(SOUND, samples * 2 * channels)


def test_an_empty_piece_is_no_end():
    assert list(SampleStream([b"", b"ab", b"", b"cdef", b""]).blocks(2)) == [b"abcd", b"ef"]


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b""]])
def test_a_stream_without_samples_has_no_blocks(pieces):
    stream = SampleStream(pieces)
    assert list(stream.blocks(100)) == []
    assert stream.ended


def test_a_block_is_there_as_soon_as_its_last_sample_is():
    asked = []

    def pieces():
        for number in itertools.count():
            asked.append(number)
            yield bytes(6)

    blocks = SampleStream(pieces()).blocks(4)
    assert [len(next(blocks)) for _ in range(3)] == [8, 8, 8]
    assert asked == [0, 1, 2, 3]


def test_any_number_of_samples_is_taken_and_the_rest_comes_in_blocks():
    stream = SampleStream(pieces_of(SOUND, 100), channels=2)
    assert stream.take(3) == SOUND[:12]
    stream.skip(10)
    assert stream.take(0) == b""
    assert b"".join(stream.blocks(70)) == SOUND[52:]


def test_the_end_is_known_once_more_was_asked_for_than_there_was():
    stream = SampleStream([SOUND])
    assert (stream.take(6_000), stream.ended) == (SOUND, False)
    assert (stream.take(1), stream.ended) == (b"", True)


@pytest.mark.parametrize("count", [SKIPPED_AT_ONCE + 5, 10**9])
def test_skipping_ends_where_the_stream_does(count):
    stream = SampleStream(itertools.repeat(bytes(20_000), 100))
    stream.skip(count)
    assert len(b"".join(stream.blocks(10_000))) == max(0, 2_000_000 - 2 * count)
