"""A run, called from Python: `transcribe(input, output, **options)`.

The run is a process of its own. Beam and the model have threads that nobody can end, Beam takes over Ctrl-C, and a
run that loses its output must stop at once: none of that may happen to a notebook or a server that calls.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping
from typing import IO, Any, Unpack, overload

from beam_pipeline.api.result import Result
from beam_pipeline.api.types import Options
from beam_pipeline.errors import OutputInUseError, RunFailedError, TranscribeError, UsageError
from runners import processes
from transforms.storage import Stores
from transforms.storage.profiles import read_profiles

# for a run to end when it was asked to; it waits for no more than the batch that the model is at
STOP_S = 30.0
LAST_LINES = 20  # of what a run that died wrote to stderr
ERRORS: Mapping[str, type[TranscribeError]] = {
    "usage": UsageError,
    "in use": OutputInUseError,
    "failed": RunFailedError,
}
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)

Place = str | os.PathLike[str]

log = logging.getLogger("beam_pipeline")


@overload
def transcribe(
    input: Place | Iterable[Place] | None = None, output: Place | None = None, **options: Unpack[Options]
) -> Result: ...
@overload
def transcribe(  # Beam's own flags have no types here
    input: Place | Iterable[Place] | None = None, output: Place | None = None, **options: Any
) -> Result: ...
def transcribe(input: Place | Iterable[Place] | None = None, output: Place | None = None, **options: Any) -> Result:
    """What the run left in the output, when it has come to its end; that some media failed is no error.

    The same call again goes on where a run was stopped, and does nothing twice. It may be called from any thread.

    Args:
        input: media files, folders, patterns and manifests: one, or several.
        output: the folder that everything is written to; either may be in an object store.
        options: the flags of the command line without their dashes (docs/options.md), and Beam's own. True turns a
            switch on; None, and False, are as if the option was not given.

    Raises:
        UsageError: an option cannot be meant, or names what is not there. Nothing was done.
        OutputInUseError: another run writes to the output.
        RunFailedError: the run failed, with what to do about it.
        KeyboardInterrupt: the user had enough. The run has ended, with its decoders; what it finished is kept.
    """
    given = {"input": input, "output": output, **options}
    plain = {name: _plain(value) for name, value in given.items() if value is not None}
    kind, content = _run({"options": plain, "level": _level()})
    if kind != "ended":
        raise ERRORS[kind](content)
    stores = Stores(read_profiles(content["stores"]))
    return Result(content["output"], content["run"], content["code"], content["summary"], stores)


def _plain(value: object) -> Any:
    """The value as JSON: a boolean, a number, a string, or a list of them."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Iterable) and not isinstance(value, (str, os.PathLike)):
        return [_plain(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _level() -> str:
    """The log level that the caller's logger has."""
    wanted = log.getEffectiveLevel()
    return logging.getLevelName(next((level for level in LEVELS if level >= wanted), LEVELS[-1]))


def _run(request: Mapping[str, Any]) -> tuple[str, Any]:
    """Run the request in its own process; returns (kind, payload) of the result. The process has ended after it."""
    process = _start()
    said: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    listener = threading.Thread(target=_listen, args=(process.stderr, said), daemon=True)
    listener.start()
    try:
        reply = _converse(process, request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    finally:
        _end(process)
    if reply:
        return reply
    listener.join(1.0)  # no longer: what the run started may hold its stderr open
    return "failed", "\n".join([f"the process of the run {_exit_reason(process.returncode)}", *said])


def _start() -> subprocess.Popen[bytes]:
    """Start the process of a run, with this process's module path, and out of reach of the terminal's Ctrl-C."""
    environment = {**os.environ, **processes.environment()}
    command, pipe = processes.command("beam_pipeline.api.child"), subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, process_group=0)


def _converse(process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Send the request, log the records that arrive, and return the result; None if the process died without one."""
    assert process.stdin and process.stdout
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    for line in process.stdout:
        kind, content = json.loads(line)
        if kind != "log":
            return kind, content
        logger = logging.getLogger(content["name"])
        if logger.isEnabledFor(content["levelno"]):
            logger.handle(logging.makeLogRecord(content))
    return None


def _listen(stderr: IO[bytes], said: collections.deque[str]) -> None:
    with stderr:
        for line in stderr:
            said.append(line.decode(errors="replace").rstrip())
            log.debug("%s", said[-1])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has ended; one that still runs is stopped by closing its stdin."""
    assert process.stdin and process.stdout
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    finally:
        # also where the user will not wait; decoders end by their broken pipes
        process.kill()
        process.wait()
        process.stdout.close()


def _exit_reason(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code} and without a word"
    return f"was killed ({signal.strsignal(-code)}), perhaps for want of memory; the same call goes on where it was"
