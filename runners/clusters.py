"""The interface to a job that a cluster or a service runs."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class RemoteError(RuntimeError):
    """What runs the job cannot be reached, or refuses it; the message says what to do."""


class JobState(NamedTuple):
    """How a job is at the moment."""

    # as its runner calls it, in lower case: running, restarting, queued …
    name: str
    ended: bool = False
    failed: bool = False
    cancelled: bool = False


class RemoteJob(Protocol):
    """A job on a cluster or a service, from before its submission until its end."""

    # "Flink job beam-pipeline-1a2b": what runs it is the first word
    title: str
    place: str  # where it runs, for people
    record: dict[str, str]  # how another process finds it: what `still_runs` takes
    # whether its workers are on this machine, where the display hears them
    is_here: bool
    # whether something else starts it after this process has ended
    staged: bool

    def link(self, result: Any) -> str | None:
        """Where people can look at it, as soon as it is known there. `result` is Beam's, of `Pipeline.run`."""
        ...

    def state(self) -> JobState | None:
        """How it is; None where the job is not known any more.

        Raises:
            RemoteError: nobody answers.
        """
        ...

    def saved(self) -> int | None:
        """How many media are saved so far, where the runner's own figures tell."""
        ...

    def cause(self) -> str:
        """Why it failed: a stack trace, or "" where nothing is told."""
        ...

    def cancel(self) -> None:
        """End it; nothing happens where it has ended.

        Raises:
            RemoteError: nobody answers.
        """
        ...
