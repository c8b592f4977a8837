"""How a command ended, as its exit code, and for a run as run.json says it."""

from __future__ import annotations

import enum
import signal


class ExitCode(enum.IntEnum):
    """What the process of a command ends with: of a run, and of those that look at an output."""

    DONE = 0  # all is done
    FAILED = 1  # the run failed; the same command goes on where it was
    # the flags cannot be meant, or there is nothing to see; nothing was done
    USAGE = 2
    WITH_DEAD_LETTERS = 3  # it came to its end, and some media could not be done
    INTERRUPTED = 128 + signal.SIGINT  # by Ctrl-C, as a shell says it
    TERMINATED = 128 + signal.SIGTERM  # by a polite kill


ENDS = (ExitCode.DONE, ExitCode.WITH_DEAD_LETTERS)  # of a run that came to its end
