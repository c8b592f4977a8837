"""Where a window is taken apart, and what its parts make when they are put together."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.engines.turns import Stretch, Turn, joined, part, stretches, turns
from transforms.records import MediaChunk, MediaFile, Segment, SpeechWindow, WindowTranscription

RATE = 16_000
PCM = np.arange(10 * RATE).astype("<i2").tobytes()
WINDOW = SpeechWindow(
    MediaChunk(MediaFile("a", "a", "a", "v1")), 0, 5 * RATE, PCM, pauses=((2 * RATE, 4 * RATE), (8 * RATE, 9 * RATE))
)
THREE = [Stretch(0, 3, 2), Stretch(3, 8, 4), Stretch(8, 10, 1)]


def test_stretches_cover_the_window_and_meet_in_the_middle_of_its_pauses():
    found = [(each.start / RATE, each.end / RATE, each.speech / RATE) for each in stretches(WINDOW)]
    assert found == [(0, 3, 2), (3, 8.5, 4), (8.5, 10, 1)]
    assert stretches(WINDOW._replace(pauses=())) == [Stretch(0, 10 * RATE, 10 * RATE)]
    assert b"".join(part(WINDOW, each.start, each.end).pcm for each in stretches(WINDOW)) == PCM


def test_a_word_is_too_short_to_tell_its_language():
    assert [each.is_long_enough for each in stretches(WINDOW._replace(pauses=((RATE // 2, 2 * RATE),)))] == [
        False,
        True,
    ]


def test_a_part_is_a_window_at_its_own_place_and_is_not_taken_apart_again():
    second = part(WINDOW, 3 * RATE, 8 * RATE)
    assert (second.start_s, second.duration_s, second.pauses) == (8.0, 5.0, ())


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([("hi", 0.99), ("en", 0.95), ("hi", 0.9)], [(0, 3, "hi"), (3, 8, "en"), (8, 10, "hi")]),
        ([("hi", 0.99), ("hi", 0.95), ("en", 0.9)], [(0, 8, "hi"), (8, 10, "en")]),
        ([("hi", 0.99), ("en", 0.89), ("hi", 0.9)], [(0, 10, "hi")]),  # in doubt, and nobody else speaks it
        ([("hi", 0.99), ("en", 0.6), ("en", 0.9)], [(0, 3, "hi"), (3, 10, "en")]),  # but here somebody does
        ([("hi", 0.5), ("en", 0.95), ("en", 0.9)], [(0, 3, "hi"), (3, 10, "en")]),  # it is the window's own
        ([("", 0.0), ("en", 0.95), ("hi", 0.9)], [(0, 8, "en"), (8, 10, "hi")]),  # with the first that is known
        ([("hi", 0.95), ("", 0.0), ("en", 0.9)], [(0, 8, "hi"), (8, 10, "en")]),  # with the one before
        ([("ur", 0.5), ("", 0.0), ("", 0.0)], [(0, 10, "hi")]),
    ],
)
def test_stretches_of_one_language_are_a_turn(told, expected):
    assert [(turn.start, turn.end, turn.language) for turn in turns(THREE, told, "hi")] == expected


def test_a_turn_is_as_sure_as_its_least_sure_stretch():
    assert turns(THREE, [("en", 0.95), ("en", 0.7), ("", 0.0)], "hi") == [Turn(0, 10, "en", 0.7)]


def test_what_the_parts_say_is_one_result_with_times_from_the_windows_start():
    parts = [part(WINDOW, 0, 3 * RATE), part(WINDOW, 3 * RATE, 8 * RATE), part(WINDOW, 8 * RATE, 10 * RATE)]
    heard = [
        WindowTranscription(
            {"transcribe": (Segment(0.5, 2.5, text, language),)}, language, probability, -0.1 * number, 0.0
        )
        for number, (text, language, probability) in enumerate(
            [("a", "hi", 0.9), ("b", "en", 0.95), ("c", "hi", 0.8)]
        )
    ]
    made = joined(WINDOW, parts, [*heard[:2], heard[2]._replace(truncated=True)])
    assert [(each.start, each.end, each.text, each.language) for each in made.texts["transcribe"]] == [
        (0.5, 2.5, "a", "hi"),
        (3.5, 5.5, "b", "en"),
        (8.5, 10.5, "c", "hi"),
    ]
    assert (made.language, made.language_probability, made.avg_logprob) == ("en", 0.95, -0.09)
    assert made.truncated
    silent = joined(WINDOW, parts, [heard[0], heard[1]._replace(texts={"transcribe": ()}), heard[2]])
    assert (silent.language, silent.language_probability) == ("hi", 0.86)
