"""The command line: `python -m beam_pipeline --input MEDIA --output FOLDER`."""

from __future__ import annotations

import argparse
import atexit
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from beam_pipeline import terminal
from beam_pipeline.errors import RunFailedError, UsageError
from beam_pipeline.parser import check_beam_flags, parse
from beam_pipeline.run.places import first_look
from transforms.storage.secrets import guard_logs, register_in
from transforms.work.exit_code import ExitCode

COMMANDS = {name: f"beam_pipeline.{name}" for name in ("status", "failures", "diff", "prune")}
COMMANDS["run"] = "beam_pipeline.__main__"


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Run the command and return its exit code."""
    terminal.configure_streams()
    # before Beam is imported, which warns of what it does without
    log_at("INFO")
    words = sys.argv[1:] if argv is None else list(argv)
    register_in(words)
    try:
        flags, beam_flags = parse(words)
        log_at(flags.log_level)
        first_look(flags)
        return _run(flags, beam_flags, words)
    except UsageError as error:
        terminal.print_error(f"error: {error}\nSee python -m beam_pipeline --help.")
        return ExitCode.USAGE
    except ValueError as error:
        terminal.print_error(f"error: {error}")
        return ExitCode.USAGE
    except OSError as error:  # of a store
        terminal.print_error(f"error: {error}")
        return ExitCode.FAILED


def _run(flags: argparse.Namespace, beam_flags: list[str], words: list[str]) -> ExitCode:
    """Run the command of these flags. Beam is imported here, after the flags have been checked."""
    from beam_pipeline.run.job import at_commit, make_job
    from beam_pipeline.run.target import REFUSED

    try:
        check_beam_flags(beam_flags)
        job = make_job(flags)
        if flags.dry_run:
            from beam_pipeline.run.dry import dry_run

            job = at_commit(job, flags).in_generation(anew=flags.overwrite)
            return dry_run(job, flags, beam_flags)
        from beam_pipeline.run.launch import launch  # and torch, of which a dry run has no need

        return launch(job, flags, beam_flags, words).code
    except REFUSED as error:
        terminal.print_error(f"error: {error}")
    except RunFailedError as error:
        logging.getLogger("beam_pipeline").error("the run failed: %s", error)
    return ExitCode.FAILED


def console(argv: Sequence[str] | None = None) -> None:
    """The console script: `beam-pipeline run …`, and the other commands by name; without a name it is `run`."""
    words = sys.argv[1:] if argv is None else list(argv)
    module = COMMANDS.get(words[0]) if words else None
    leave(importlib.import_module(module).main(words[1:]) if module else main(words))


def leave(code: ExitCode) -> NoReturn:
    """End the process."""
    if code == ExitCode.FAILED:
        # A failed run's threads may still wait for a server or a model: nothing that they do is needed any more. What
        # it started does end: decoders, and Beam's job server for Flink.
        atexit._run_exitfuncs()
        terminal.flush_streams()
        os._exit(code)
    sys.exit(code)


def log_at(level: str, *handlers: logging.Handler) -> None:
    """Log our own messages from this level on, to stderr if there is no handler, and few of other libraries."""
    guard_logs()
    logging.basicConfig(
        level=logging.ERROR,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=handlers or [logging.StreamHandler()],
    )
    for name in ("beam_pipeline", "transforms", "runners"):
        logging.getLogger(name).setLevel(level)
    # A failing step's stack reaches the user as one message; Beam would log it once a layer.
    logging.getLogger("apache_beam").setLevel(logging.INFO if level == "DEBUG" else logging.CRITICAL)


if __name__ == "__main__":
    console()
