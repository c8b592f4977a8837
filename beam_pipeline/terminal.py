"""Printing to the terminal. A closed stream or an encoding that lacks characters never fails a run."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from typing import TextIO

from transforms.storage.secrets import LOGGED, redacted
from transforms.storage.texts import printable_lines


def configure_streams() -> None:
    """Make the streams of this process accept any text.

    What a console's encoding lacks shows as escapes, as bytes of a name that are no UTF-8 do everywhere:
    `caf\\xe9.mp3`. A stream that was closed before the start leads nowhere, or the next file opened would be it.
    """
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def on_terminal() -> bool:
    """Whether a bar can be drawn."""
    return sys.stderr is not None and sys.stderr.isatty()


def print_result(text: str) -> bool:
    """Print a command's result; False if the reader has closed the pipe, as in `| head -1`.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    try:
        print(printable_lines(text), flush=True)
    except BrokenPipeError:
        _silence(sys.stdout)
        return False
    return True


def print_status(text: str) -> None:
    """Print the state of a run; a closed stream is no error."""
    _print(printable_lines(text), sys.stdout)


def print_error(text: str) -> None:
    """Print to stderr, if that is there, and nothing secret."""
    _print(redacted(text, LOGGED), sys.stderr)


def _print(text: str, stream: TextIO | None) -> None:
    if stream is None:  # print would take stdout
        return
    try:
        print(text, file=stream, flush=True)
    except OSError:
        _silence(stream)


@atexit.register
def flush_streams() -> None:
    """Flush the streams and ignore failures: Python itself would turn one into the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    """Redirect the stream to the null device, with what it still buffers."""
    with contextlib.suppress(OSError):  # it has no file of the system's
        number, nowhere = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
