"""The run of one call of `transcribe`, in a process of its own: `python -m beam_pipeline.api.child`.

One line of JSON comes in on stdin, which then stays open for as long as the caller lives. Lines of JSON go out on
what was stdout: ["log", record] as often as there is one, then once ["ended", …] or [the kind of error, its message].
All that is printed meanwhile goes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from beam_pipeline.__main__ import leave, log_at
from beam_pipeline.config import to_arguments
from beam_pipeline.errors import RunFailedError, UsageError
from beam_pipeline.parser import check_beam_flags, parse
from beam_pipeline.run.places import first_look
from beam_pipeline.terminal import configure_streams
from transforms.storage.secrets import LOGGED, redacted, register_in
from transforms.work.exit_code import ExitCode

NOT_FROM_PYTHON = {
    "dry_run": "--dry_run lists on a terminal what would be done: use the command line",
    "json": "--json says how --dry_run prints: use the command line",
    "log_level": "--log_level is of the command line's log; from Python, logging is the caller's own",
}


class Channel(logging.Handler):
    """The pipe to the caller. As a logging handler it sends every record."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._out = os.fdopen(descriptor, "w")

    def emit(self, record: logging.LogRecord) -> None:
        kept = ("name", "levelno", "levelname", "created", "exc_text")
        self.send("log", {**{name: getattr(record, name) for name in kept}, "msg": record.getMessage()})

    def send(self, kind: str, content: object) -> None:
        """Send one message, from any thread. A closed pipe is no error: the run is about to be stopped."""
        self.acquire()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._out.write(json.dumps([kind, content]) + "\n")
                self._out.flush()
        finally:
            self.release()


def main() -> ExitCode:
    """Run the request from stdin, send its result, and return the exit code that the command line would give."""
    configure_streams()
    channel = Channel(os.dup(1))
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    log_at(request["level"], channel)
    from beam_pipeline.run.target import REFUSED
    from transforms.work.lease import OccupiedError

    try:
        ended = run(request["options"])
    except ValueError as error:
        channel.send("usage", redacted(error, LOGGED))
        return ExitCode.USAGE
    except (*REFUSED, RunFailedError) as error:
        channel.send("in use" if isinstance(error, OccupiedError) else "failed", redacted(error, LOGGED))
        return ExitCode.FAILED
    channel.send("ended", ended)
    return ended["code"]


def run(options: Mapping[str, Any]) -> dict[str, Any]:
    """Run the job that the options describe; returns its result, with what is needed to read its output.

    Raises:
        ValueError, REFUSED, RunFailedError: as `launch.launch` does.
    """
    if alone := NOT_FROM_PYTHON.keys() & options.keys():
        raise UsageError(NOT_FROM_PYTHON[min(alone)])
    words = to_arguments(options)
    register_in(words)
    flags, beam_flags = parse(words)
    if flags.dry_run:  # a config file asks for it
        raise UsageError(NOT_FROM_PYTHON["dry_run"])
    first_look(flags)
    from beam_pipeline.run import launch
    from beam_pipeline.run.job import make_job

    check_beam_flags(beam_flags)
    ended = launch.launch(make_job(flags), flags, beam_flags, words)
    return {**ended._asdict(), "stores": flags.stores}


def _end_with_the_caller() -> None:
    """Treat the end of stdin as SIGTERM: the caller has stopped the run, or is gone."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    leave(main())
