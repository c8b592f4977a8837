"""The errors that callers of a run meet. Each message says why, and what to do."""

from __future__ import annotations


class TranscribeError(Exception):
    """The run could not start, or did not finish."""


class UsageError(TranscribeError, ValueError):
    """Invalid options, or options that name what does not exist. Nothing was done."""


class RunFailedError(TranscribeError, RuntimeError):
    """The run failed. What it finished is kept: the same call goes on from there."""


class OutputInUseError(RunFailedError):
    """Another run writes to the output. Nothing was done."""


class NoRunError(TranscribeError):
    """There is nothing to read: no run was ever made on the output, or none has come to its end."""
