"""What can go wrong with a run, as those who call for one see it. The message says why, and what to do."""

from __future__ import annotations


class TranscribeError(Exception):
    """The run could not be, or did not come to its end."""


class UsageError(TranscribeError, ValueError):
    """Options that cannot be meant, or that name what is not there. Nothing was done."""


class RunFailedError(TranscribeError, RuntimeError):
    """The run failed. What it finished is kept: the same call goes on from there."""


class OutputInUseError(RunFailedError):
    """Another run writes to the output. Nothing was done."""


class NoRunError(TranscribeError):
    """There is nothing to read: no run was ever made on the output, or none has come to its end."""
