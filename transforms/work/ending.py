"""The end of a run, wherever its last step is: in the process that started it, or in the cluster it was left to."""

from __future__ import annotations

import contextlib
import datetime
import time
from typing import Any

from transforms.storage import join
from transforms.work.exit_code import ENDS, ExitCode
from transforms.work.layers import RECORD, Layers, from_json, json_bytes
from transforms.work.lease import Owner, check_owner, latest


def end(layers: Layers, owner: Owner, record: dict[str, Any] | None, code: ExitCode, **figures: Any) -> None:
    """Finish the generation of a run that came to its end, say in run.json how it ended, and give the output back.

    Args:
        layers: of the run, in its generation.
        record: run.json as it is; None where there is none to go on with.
        figures: what else run.json is to say.

    Raises:
        OccupiedError: the output belongs to another run by now.
        OSError: the output cannot be written.
    """
    check_owner(layers)
    if code in ENDS:
        layers.commit_generation(finished=True)
    if record is not None:
        ended = {**record, "ended": now(), "exit_code": code, **figures}
        layers.store.put(join(layers.output, RECORD), json_bytes(ended, indent=1))
    owner.release()


def end_in_cluster(layers: Layers, code: ExitCode) -> None:
    """End the run from its last step, where that is in a cluster: the process that started it may have left it."""
    found = latest(layers)
    if not found or not found[1].get("job") or found[1].get("run") != layers.run:
        return
    end(layers, Owner(layers, *found), _record(layers), code)


def _record(layers: Layers) -> dict[str, Any] | None:
    """run.json; None where it was damaged since: the dataset is there all the same."""
    with contextlib.suppress(ValueError):
        record = from_json(layers.store.read(join(layers.output, RECORD)))
        return record if isinstance(record, dict) else None
    return None


def now() -> str:
    """The moment, as run.json has it."""
    return datetime.datetime.fromtimestamp(time.time(), datetime.UTC).isoformat(timespec="seconds")
