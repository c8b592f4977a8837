"""The end of a run, wherever its last step is: in the process that started it, or in the cluster it was left to."""

from __future__ import annotations

import contextlib
import datetime
import time
from typing import Any

from transforms.storage import join
from transforms.work.exit_code import ENDS, ExitCode
from transforms.work.lease import Lease, check_lease, latest_lease
from transforms.work.store import RECORD, WorkStore, from_json, json_bytes


def end_run(work: WorkStore, lease: Lease, record: dict[str, Any] | None, code: ExitCode, **figures: Any) -> None:
    """Finish the generation of a run that came to its end, say in run.json how it ended, and give the output back.

    Args:
        work: of the run, in its generation.
        record: run.json as it is; None where there is none to go on with.
        figures: what else run.json is to say.

    Raises:
        OccupiedError: the output belongs to another run by now.
        OSError: the output cannot be written.
    """
    check_lease(work)
    if code in ENDS:
        work.commit_generation(finished=True)
    if record is not None:
        ended = {**record, "ended": now(), "exit_code": code, **figures}
        work.store.put(join(work.output, RECORD), json_bytes(ended, indent=1))
    lease.release()


def end_in_cluster(work: WorkStore, code: ExitCode) -> None:
    """End the run from its last step, where that is in a cluster: the process that started it may have left it."""
    found = latest_lease(work)
    if not found or not found[1].get("job") or found[1].get("run") != work.run:
        return
    end_run(work, Lease(work, *found), _record(work), code)


def _record(work: WorkStore) -> dict[str, Any] | None:
    """run.json; None where it was damaged since: the dataset is there all the same."""
    with contextlib.suppress(ValueError):
        record = from_json(work.store.read(join(work.output, RECORD)))
        return record if isinstance(record, dict) else None
    return None


def now() -> str:
    """The moment, as run.json has it."""
    return datetime.datetime.fromtimestamp(time.time(), datetime.UTC).isoformat(timespec="seconds")
