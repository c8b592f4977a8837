"""One run at a time writes to an output: whose it is, and whether that run is still alive.

    _work/owner/<number>.json   run, host, process, and a beat that changes every few seconds while the run lives

The highest number owns the output. It is claimed by a put that fails where the object exists, so of many that try
one gets it. No clocks are compared: an owner whose beat does not change while a newcomer watches is dead, and so is
one of this machine whose process is gone. A job that a cluster goes on with by itself is asked for there, where `job`
in the record says.
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
from transforms.work.layers import Layers, from_json, json_bytes

FOLDER = "_work/owner"
BEAT_S = 5.0
OWNER = re.compile(r"(0|[1-9][0-9]{0,17})\.json")
LEASE_S = 30.0  # without a beat an owner is dead: a store that is away for less costs nobody the output


class Claim(NamedTuple):
    """What an owner's record holds, with the news for whoever looks."""

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
class Owner:
    """A claim on an output."""

    layers: Layers
    number: int
    record: dict[str, Any]
    found_dead: bool = False  # the owner before died without giving it back
    _beating: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False, compare=False)

    def beat(self, **news: Any) -> None:
        """Show that the run lives, with news for whoever looks; from any thread. Nothing is shown once it has ended.

        Raises:
            OccupiedError: another run took over, since no beat of this one was seen for LEASE_S.
        """
        with self._beating:
            if self.record["ended"]:
                return  # the output may be another run's by now, and nothing was taken from this one
            check_owner(self.layers)
            record = {**self.record, **news, "beat": self.record["beat"] + 1, "seen": time.time()}
            self.layers.store.put(_uri(self.layers, self.number), json_bytes(record))
            self.record = record

    def release(self) -> None:
        """Give the output back, if it is still ours. Where its store is away, it is free when the lease is over."""
        with contextlib.suppress(OSError, OccupiedError):
            self.beat(ended=True)


def nowhere(_: dict[str, str]) -> bool:
    """Whether a job goes on without the process that started it, where no cluster is known."""
    return False


def claim(layers: Layers, lease_s: float = LEASE_S, still_runs: Callable[[dict[str, str]], bool] = nowhere) -> Owner:
    """Make the output that of the run `layers.run`; watches for at most lease_s whether an earlier owner lives.

    `still_runs` tells of the `job` in an owner's record whether it does.

    Raises:
        OccupiedError: another run writes to it.
        OSError: the output cannot be written.
    """
    while True:
        found = latest(layers)
        number, record = found or (0, {"ended": True})
        if not record["ended"] and not is_gone(record) and not record.get("left"):
            _watch(layers, number, record, lease_s)
        if not record["ended"] and record.get("job") and still_runs(record["job"]):
            raise OccupiedError(
                f"{_who(record)} goes on in its cluster without the process that started it: job {record['job']}. "
                "Wait until it ends, or cancel it there"
            )
        mine = {"run": layers.run, **_process(), "started": time.time(), "beat": 0, "ended": False}
        mine["seen"] = mine["started"]
        if layers.store.put_new(_uri(layers, number + 1), json_bytes(mine)):
            check_owner(layers)  # who was asleep for long may have put a number that was deleted since
            for older in _numbers(layers):
                if older <= number:
                    layers.store.delete(_uri(layers, older))
            return Owner(layers, number + 1, mine, found_dead=not record["ended"])


def latest(layers: Layers) -> tuple[int, dict[str, Any]] | None:
    """The number and the record of the newest claim, or None where nobody ever claimed the output."""
    for number in sorted(_numbers(layers), reverse=True):
        try:
            return number, _claim_in(layers.store.read(_uri(layers, number)))
        except FileNotFoundError:
            continue  # a newer owner tidied up in between
        except ValueError:
            return number, {"ended": True}  # a power cut left its name without its content
    return None


def _claim_in(data: bytes) -> dict[str, Any]:
    """An owner's record.

    Raises:
        ValueError: it is damaged.
    """
    record = from_json(data)
    from_plain(Claim, record)
    return record


def check_owner(layers: Layers) -> None:
    """Raise OccupiedError where the output belongs to another run by now; a run without a name asks nobody."""
    found = latest(layers) if layers.run else None
    if found and found[1].get("run", layers.run) != layers.run:
        raise OccupiedError(f"{_who(found[1])} took over {layers.output}; nothing of this run is lost")


def _watch(layers: Layers, number: int, record: dict[str, Any], lease_s: float) -> None:
    """Return when the owner has not given a sign of life for lease_s; raise as soon as it gives one."""
    until = time.monotonic() + lease_s
    while time.monotonic() < until:
        time.sleep(min(1.0, lease_s / 10))
        found = latest(layers)
        if found is None or found[1]["ended"]:
            return
        if found[0] != number or found[1]["beat"] != record["beat"]:
            raise OccupiedError(
                f"{_who(found[1])} is writing to {layers.output}. Wait until it ends, or stop it; "
                "what it has finished will not be done again"
            )


def _who(record: dict[str, Any]) -> str:
    return f"another run ({record.get('run')}, process {record.get('pid')} on {record.get('host')})"


def _process() -> dict[str, Any]:
    me = psutil.Process()
    return {"host": platform.node(), "machine": _machine(), "pid": me.pid, "born_s": _born_s(me)}


def is_gone(record: dict[str, Any]) -> bool:
    """Whether the owner was a process of this machine that does not exist any more; False where nobody can tell."""
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


def _numbers(layers: Layers) -> list[int]:
    folder = layers.store.canonical(join(layers.output, FOLDER)) + "/"
    names = (entry.uri.removeprefix(folder) for entry in layers.store.list(folder))
    return [int(match[1]) for match in map(OWNER.fullmatch, names) if match]


def _uri(layers: Layers, number: int) -> str:
    return join(layers.output, FOLDER, f"{number}.json")
