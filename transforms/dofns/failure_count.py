"""How many media of a run have failed, over all copies of the step that counts them: threads, processes, machines.

Beam copies a step for every thread and bundle, so the copies of a process share one count. Other processes see the
names that are noted under the output, where the limit is a number. A share is taken of what each process has tried.
"""

from __future__ import annotations

import functools
import math
import threading
import time

from transforms.dead_letters import FailureLimit
from transforms.records import MediaOutcome
from transforms.work.store import WorkStore

LOOK_EVERY_S = 1.0


class FailureCount:
    """The count of one process."""

    def __init__(self, work: WorkStore, limit: FailureLimit) -> None:
        self._work, self._limit, self._counting = work, limit, threading.Lock()
        self._shared = bool(work.run) and 1 <= limit.most < math.inf
        self._tried, self._failed = 0, set[str]()  # of a long recording several chunks may fail
        self._everywhere, self._looked = 0, -math.inf

    def add(self, outcome: MediaOutcome) -> None:
        """Count an outcome of this run.

        Raises:
            TooManyFailuresError: more have failed than the limit allows.
            OSError: the output cannot be reached.
        """
        if self._shared and outcome.failed:
            self._work.note_failure(outcome.media)
        with self._counting:
            self._tried += 1
            if outcome.failed:
                self._failed.add(outcome.media.media_id)
            if self._shared and outcome.failed and time.monotonic() - self._looked >= LOOK_EVERY_S:
                self._everywhere, self._looked = self._work.failures(), time.monotonic()
            failed = max(len(self._failed), self._everywhere)
            self._limit.check(failed, max(failed, self._tried))


def failure_count(work: WorkStore, limit: FailureLimit) -> FailureCount:
    """The count that all copies of a step share in this process; one of its own for layers that are of no run."""
    if not work.run:
        return FailureCount(work, limit)
    with _making:
        return _of_run(work, limit)


_making = threading.Lock()
_of_run = functools.lru_cache(maxsize=2)(FailureCount)
