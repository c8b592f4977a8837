"""Places decoded frames by their timestamps, so that a sample's index is its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from transforms.records import SAMPLE_RATE_HZ

# what the first frame may be off; containers count milliseconds
FIRST = SAMPLE_RATE_HZ // 1000
# what all others may be: clocks are rounded, and a recorder's may drift
LATER = SAMPLE_RATE_HZ // 10
# up to so many samples again are the same ones; further back, the clock began anew
OVERLAP = SAMPLE_RATE_HZ
# a clock that began anew shows at most so much at its first frame
NEW_CLOCK = 5 * SAMPLE_RATE_HZ
MOST_GAPS = 20  # that are kept to be told of
MOST_CLOCKS = 20  # that are remembered


class Gap(NamedTuple):
    """A stretch without audio, filled with silence: first sample and number of samples."""

    start: int
    samples: int


class Timeline:
    """Places frame after frame. A clock that begins again within a recording goes on where the last one was.

    Args:
        start: sample of the recording that the first frame stands at when its time is 0.
        longest: asked when a frame claims to be later than what came before it; no recording is longer than so many
            samples. None where that is not known.
    """

    def __init__(self, start: int, longest: Callable[[], int | None] = lambda: None) -> None:
        self.position = start  # the sample that comes next
        self.gaps: list[Gap] = []
        self._longest = longest
        # where each clock of the recording has its 0; the last is the one that runs
        self._clocks = [start]
        self._tolerance = FIRST

    def begin_again(self, start: int) -> None:
        """Another decoder goes on, whose clock has its 0 at this sample."""
        self._clocks, self._tolerance = [start], FIRST

    def goes_on(self, time: int | None) -> bool:
        """Whether a frame of this time simply comes next."""
        return time is None or abs(self._clocks[-1] + time - self.position) <= self._tolerance

    def place(self, time: int | None, samples: int, following: int | None = None) -> tuple[int, int]:
        """How much silence goes before a frame of so many samples, and how many of its samples are left out.

        Args:
            time: of its first sample, in samples from its clock's 0; None where it has none.
            following: of the frame behind it. A time that jumps and that the next one does not go on from is wrong.
        """
        silence, left_out = (0, 0) if time is None else self._corrected(time, samples, following)
        if silence > LATER and len(self.gaps) < MOST_GAPS:
            self.gaps.append(Gap(self.position, silence))
        self.position += silence + samples - left_out
        return silence, left_out

    def _corrected(self, time: int, samples: int, following: int | None) -> tuple[int, int]:
        comes_next, settled = self.goes_on(time), self._tolerance == LATER
        wrong = following is not None and abs(following - time - samples) > LATER
        off, self._tolerance = self._clocks[-1] + time - self.position, LATER
        if comes_next or wrong or (settled and self._is_of_another_clock(time, off)):
            return 0, 0
        off = self._clocks[-1] + time - self.position
        if off <= -samples:
            self._tolerance = FIRST  # there is more to leave out
        return max(0, off), min(samples, max(0, -off))

    def _is_of_another_clock(self, time: int, off: int) -> bool:
        """Whether the frame simply goes on by another clock, which then runs, as does one that begins anew."""
        earlier = [zero for zero in self._clocks if abs(zero + time - self.position) <= LATER]
        if earlier:  # some wrong times, and the right ones again
            self._run(earlier[0])
        elif off < -OVERLAP and 0 <= time <= NEW_CLOCK:
            self._run(self.position)
            return False
        elif off < -OVERLAP or self._is_too_late(time):
            self._run(self.position - time)
        else:
            return False
        return True

    def _is_too_late(self, time: int) -> bool:
        longest = self._longest()
        return longest is not None and self._clocks[0] + time > longest + OVERLAP

    def _run(self, zero: int) -> None:
        self._clocks = [*[clock for clock in self._clocks if clock != zero][-MOST_CLOCKS:], zero]
