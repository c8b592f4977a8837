"""Every frame at its time, whatever the clocks of a recording do."""

from __future__ import annotations

from transforms.media.timeline import Gap, Timeline

SECOND = 16_000
FRAME = 1_000


def play(timeline: Timeline, *times: int | None) -> list[tuple[int, int]]:
    """What is done to frames of these times; the times of what follows are known."""
    return [timeline.place(time, FRAME, following) for time, following in zip(times, [*times[1:], None], strict=True)]


def run_of(start: int, frames: int) -> list[int]:
    return [start + FRAME * number for number in range(frames)]


def test_frames_that_go_on_from_one_another_are_left_alone():
    timeline = Timeline(0)
    assert play(timeline, *run_of(0, 5), None, *run_of(6 * FRAME + 1_000, 3)) == [(0, 0)] * 9
    assert (timeline.position, timeline.gaps) == (9 * FRAME, [])


def test_what_starts_late_is_padded_and_what_starts_early_is_cut():
    assert play(Timeline(0), *run_of(100, 2)) == [(100, 0), (0, 0)]
    assert play(Timeline(0), *run_of(-300, 2)) == [(0, 300), (0, 0)]
    assert play(Timeline(0), *run_of(-2_500, 4)) == [(0, FRAME), (0, FRAME), (0, 500), (0, 0)]
    assert play(Timeline(0), *run_of(15, 2)) == [(0, 0), (0, 0)]  # a millisecond is no lateness


def test_a_gap_is_filled_and_told():
    timeline = Timeline(0)
    assert play(timeline, *run_of(0, 2), *run_of(3 * SECOND, 2)) == [(0, 0), (0, 0), (3 * SECOND - 2_000, 0), (0, 0)]
    assert timeline.gaps == [Gap(2_000, 3 * SECOND - 2_000)]


def test_samples_that_come_twice_are_left_out():
    assert play(Timeline(0), *run_of(0, 4), *run_of(2_000, 3)) == [(0, 0)] * 4 + [(0, FRAME), (0, FRAME), (0, 0)]


def test_a_clock_that_begins_again_goes_on_where_the_last_one_was():
    timeline = Timeline(0)
    assert play(timeline, *run_of(0, 40), *run_of(0, 40), *run_of(SECOND // 2, 5))[40:81] == [(0, 0)] * 40 + [
        (SECOND // 2, 0)
    ]
    assert timeline.position == 85 * FRAME + SECOND // 2


def test_one_wrong_time_among_right_ones_moves_nothing():
    for wrong in (3 * SECOND, 9_999_999_999, -5 * SECOND):
        timeline = Timeline(0)
        assert play(timeline, *run_of(0, 90), wrong, *run_of(91 * FRAME, 5)) == [(0, 0)] * 96
        assert (timeline.position, timeline.gaps) == (96 * FRAME, [])


def test_times_beyond_the_end_that_the_media_declares_are_another_clock():
    timeline = Timeline(0, lambda: 10 * SECOND)
    assert play(timeline, *run_of(0, 5), *run_of(3_600 * SECOND, 5)) == [(0, 0)] * 10
    assert timeline.position == 10 * FRAME


def test_a_decoder_that_goes_on_brings_a_clock_of_its_own():
    timeline = Timeline(0)
    play(timeline, *run_of(0, 5))
    timeline.begin_again(SECOND)
    assert play(timeline, *run_of(0, 2)) == [(SECOND - 5 * FRAME, 0), (0, 0)]
