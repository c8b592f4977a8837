"""Temporary files. They lie on a disk of their own, which may be missing, or full while the output has room."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator

FULL = {errno.ENOSPC, errno.EDQUOT}
ADVICE = "set TMPDIR to a folder with room"


class ScratchError(RuntimeError):
    """Temporary files cannot be written; the message says where, and what to do."""


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for temporary files, to be used as a context manager.

    Raises:
        ScratchError: there is no place for it.
    """
    try:
        with writing_scratch():
            return tempfile.TemporaryDirectory(prefix="beam-pipeline-")
    except FileNotFoundError as error:  # the message names every folder that was tried
        raise ScratchError(f"{error.strerror}: {ADVICE}") from error


@contextlib.contextmanager
def writing_scratch() -> Iterator[None]:
    """Around what writes temporary files.

    Raises:
        ScratchError: there is no room for them.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ScratchError(f"no room for temporary files in {tempfile.gettempdir()}: {ADVICE}") from error
