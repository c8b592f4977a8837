"""What a model is given of a machine: a device, a precision, a batch size; and a GPU for one process alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import tempfile
from typing import IO, NamedTuple

BATCH_ON_CPU = 8  # a larger one only delays the first result
# beyond it a large model gains under 5 %: each row reads its own keys and values
LARGEST_BATCH = 64
CPU_MAX = pathlib.Path("/sys/fs/cgroup/cpu.max")  # "quota period" in µs, or "max period"

_claims: list[IO[str]] = []  # held open: the lock on a GPU ends with the process


class Placement(NamedTuple):
    """The device, precision and batch size of one model."""

    device: str
    dtype: str
    batch_size: int

    def __str__(self) -> str:
        return f"{self.device} in {self.dtype}, {self.batch_size} windows at once"


def claim_gpu(count: int, folder: pathlib.Path | None = None) -> int:
    """The number of a GPU for this process alone while there are enough, else one shared by process number.

    Workers of one host know nothing of one another; a locked file a GPU is all they need. A process that dies
    lets go of its lock.
    """
    folder = folder or pathlib.Path(tempfile.gettempdir())
    for number in range(count):
        lock = (folder / f"beam-pipeline-{os.getuid()}-gpu-{number}.lock").open("w")
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _claims.append(lock)
            return number
        lock.close()
    return os.getpid() % count


def usable_cpus(cpu_max: pathlib.Path = CPU_MAX) -> int:
    """How many threads can compute at once here, by the process's affinity and the container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = cpu_max.read_text().split()
        if quota != "max":
            allowed = min(allowed, int(quota) // int(period))
    return max(1, allowed)
