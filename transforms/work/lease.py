"""The lease on an output: one run at a time writes to it, and renews its lease while it lives.

    _work/owner/<number>.json   run, host, process, and a heartbeat counter that changes while the run lives

The highest number holds the lease. It is acquired by a put that fails if the object exists, so of many that try one
gets it. No clocks are compared: a lease whose heartbeat does not change while another run watches has expired, and
so has one of this machine whose process is gone. If the record names a remote `job`, its cluster is asked instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import platform
import re
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

from transforms.records import from_plain
from transforms.storage import join
from transforms.work.store import WorkStore, from_json, json_bytes

FOLDER = "_work/owner"
HEARTBEAT_S = 5.0
LEASE_NAME = re.compile(r"(0|[1-9][0-9]{0,17})\.json")
# without a heartbeat a lease expires: a store that is away for less costs nobody the output
LEASE_S = 30.0


class LeaseRecord(NamedTuple):
    """The record of a lease, with the state of the run for `status`. Its fields are the keys of the JSON on disk."""

    run: str
    host: str
    machine: str
    pid: int
    started: float
    beat: int
    ended: bool
    seen: float
    born_s: float | None = None  # None of earlier versions, which said it otherwise
    born: str | None = None
    job: dict[str, str] | None = None
    counts: dict[str, float] | None = None
    left: bool = False


class OccupiedError(Exception):
    """Another run writes to the output."""


@dataclasses.dataclass
class Lease:
    """A lease on an output."""

    work: WorkStore
    number: int
    record: dict[str, Any]
    previous_expired: bool = False  # the lease before this one expired without a release
    _renewing: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False, compare=False)

    def renew(self, **fields: Any) -> None:
        """Renew the lease, with these fields in its record; from any thread. Does nothing once the run has ended.

        Raises:
            OccupiedError: another run took over, since it saw no heartbeat of this one for LEASE_S.
        """
        with self._renewing:
            if self.record["ended"]:
                # the output may be another run's by now, and nothing was taken from this one
                return
            check_lease(self.work)
            record = {**self.record, **fields, "beat": self.record["beat"] + 1, "seen": time.time()}
            self.work.store.put(_uri(self.work, self.number), json_bytes(record))
            self.record = record

    def release(self) -> None:
        """Release the lease, if this run still holds it. If the store is away, it expires."""
        with contextlib.suppress(OSError, OccupiedError):
            self.renew(ended=True)


def no_remote_job(_: dict[str, str]) -> bool:
    """The `still_runs` of callers that know no cluster: no job runs without its process."""
    return False


def acquire(
    work: WorkStore, lease_s: float = LEASE_S, still_runs: Callable[[dict[str, str]], bool] = no_remote_job
) -> Lease:
    """Acquire the output for the run `work.run`; waits at most lease_s for a heartbeat of an earlier lease.

    `still_runs` tells whether the `job` of a lease's record still runs.

    Raises:
        OccupiedError: another run writes to it.
        OSError: the output cannot be written.
    """
    while True:
        found = latest_lease(work)
        number, record = found or (0, {"ended": True})
        if not record["ended"] and not process_is_gone(record) and not record.get("left"):
            _watch(work, number, record, lease_s)
        if not record["ended"] and record.get("job") and still_runs(record["job"]):
            raise OccupiedError(
                f"{_holder(record)} goes on in its cluster without the process that started it: job {record['job']}. "
                "Wait until it ends, or cancel it there"
            )
        mine = {"run": work.run, **_process(), "started": time.time(), "beat": 0, "ended": False}
        mine["seen"] = mine["started"]
        if work.store.put_new(_uri(work, number + 1), json_bytes(mine)):
            # who was asleep for long may have put a number that was deleted since
            check_lease(work)
            for older in _numbers(work):
                if older <= number:
                    work.store.delete(_uri(work, older))
            return Lease(work, number + 1, mine, previous_expired=not record["ended"])


def latest_lease(work: WorkStore) -> tuple[int, dict[str, Any]] | None:
    """The number and the record of the newest lease, or None if the output was never acquired."""
    for number in sorted(_numbers(work), reverse=True):
        try:
            return number, _lease_record(work.store.read(_uri(work, number)))
        except FileNotFoundError:
            continue  # a newer holder deleted it in between
        except ValueError:
            return number, {"ended": True}  # a power cut left its name without its content
    return None


def _lease_record(data: bytes) -> dict[str, Any]:
    """Parse a lease's record.

    Raises:
        ValueError: it is damaged.
    """
    record = from_json(data)
    from_plain(LeaseRecord, record)
    return record


def check_lease(work: WorkStore) -> None:
    """Raise OccupiedError if another run holds the lease by now; a run without a name is not checked."""
    found = latest_lease(work) if work.run else None
    if found and found[1].get("run", work.run) != work.run:
        raise OccupiedError(f"{_holder(found[1])} took over {work.output}; nothing of this run is lost")


def _watch(work: WorkStore, number: int, record: dict[str, Any], lease_s: float) -> None:
    """Return when lease_s have passed without a heartbeat; raise OccupiedError as soon as there is one."""
    until = time.monotonic() + lease_s
    while time.monotonic() < until:
        time.sleep(min(1.0, lease_s / 10))
        found = latest_lease(work)
        if found is None or found[1]["ended"]:
            return
        if found[0] != number or found[1]["beat"] != record["beat"]:
            raise OccupiedError(
                f"{_holder(found[1])} is writing to {work.output}. Wait until it ends, or stop it; "
                "what it has finished will not be done again"
            )


def _holder(record: dict[str, Any]) -> str:
    return f"another run ({record.get('run')}, process {record.get('pid')} on {record.get('host')})"


def _process() -> dict[str, Any]:
    me = psutil.Process()
    return {"host": platform.node(), "machine": _machine(), "pid": me.pid, "born_s": _born_s(me)}


def process_is_gone(record: dict[str, Any]) -> bool:
    """Whether the lease was held by a process of this machine that is gone; False if that cannot be known."""
    if record["host"] != platform.node() or record["machine"] != _machine() or "born_s" not in record:
        return False
    if not psutil.pid_exists(1):  # the system shows nothing of the processes of others
        return False
    try:
        found = psutil.Process(record["pid"])
        # Killed and not yet reaped, or another process of the same number; the clock is read to the second.
        return found.status() == psutil.STATUS_ZOMBIE or abs(_born_s(found) - record["born_s"]) > 2
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _machine() -> str:
    """This machine: on Linux its last start, and the container's own numbering of processes."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {pathlib.Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{uuid.getnode():x}"


def _born_s(process: psutil.Process) -> float:
    """Seconds between the start of the machine and of the process: a clock that is set moves both."""
    return round(process.create_time() - psutil.boot_time(), 2)


def _numbers(work: WorkStore) -> list[int]:
    folder = work.store.canonical(join(work.output, FOLDER)) + "/"
    names = (entry.uri.removeprefix(folder) for entry in work.store.list(folder))
    return [int(match[1]) for match in map(LEASE_NAME.fullmatch, names) if match]


def _uri(work: WorkStore, number: int) -> str:
    return join(work.output, FOLDER, f"{number}.json")
