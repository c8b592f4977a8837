"""What is said on the terminal. Saying it never decides how a run ends: nobody may listen, few consoles show all."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import sys
from typing import TextIO

from transforms.storage.secrets import LOGGED, redacted
from transforms.storage.texts import printable_lines


def prepare() -> None:
    """Make the streams of this process take whatever is said.

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


def answer(text: str) -> bool:
    """Print what was asked for; False where the reader has seen enough, as in `| head -1`.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    try:
        print(printable_lines(text), flush=True)
    except BrokenPipeError:
        _silence(sys.stdout)
        return False
    return True


def tell(text: str) -> None:
    """Print news of a run, if they can be printed."""
    _print(printable_lines(text), sys.stdout)


def complain(text: str) -> None:
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
def settle() -> None:
    """Write what the streams still hold, if they can. Python itself would make a failure the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    """Send nowhere what the stream still holds, and all that follows."""
    with contextlib.suppress(OSError):  # it has no file of the system's
        number, nowhere = stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
