"""How a run ended, as its exit code and as run.json says it."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What the process of a run ends with."""

    DONE = 0  # all is done
    FAILED = 1  # the run failed; the same command goes on where it was
    USAGE = 2  # the flags cannot be meant; nothing was done
    WITH_DEAD_LETTERS = 3  # it came to its end, and some media could not be done


ENDS = (ExitCode.DONE, ExitCode.WITH_DEAD_LETTERS)  # of a run that came to its end
