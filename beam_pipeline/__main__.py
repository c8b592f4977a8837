"""The command line: `python -m beam_pipeline --input MEDIA --output FOLDER`."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    _log_to_stderr("INFO")  # before Beam is imported, which warns of what it does without
    from beam_pipeline import launch, options
    from beam_pipeline.job import make_job
    from beam_pipeline.submit import RunnerError, find_target
    from transforms.models.catalog import ModelError

    words = sys.argv[1:] if argv is None else list(argv)
    flags, beam_flags = options.parse(words)
    _log_to_stderr(flags.log_level)
    try:
        job = make_job(flags)
        if flags.dry_run:
            return launch.dry_run(job.in_generation(anew=flags.overwrite), flags, beam_flags)
        target = find_target(flags, beam_flags, job.layers.run)
        launch.check(job, target)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return launch.USAGE
    except (ModelError, RunnerError, OSError) as error:  # a store's errors are OSErrors, and say what to do
        print(f"error: {error}", file=sys.stderr)
        return launch.FAILED
    return launch.run(job, flags, target, words)


def console(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    code = main(argv)
    if code == 1:
        # A failed run's threads may still wait for a server or a model: nothing that they do is needed any more. What
        # it started does end: decoders, and Beam's job server for Flink.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    for name in ("beam_pipeline", "transforms", "runners"):
        logging.getLogger(name).setLevel(level)
    # A failing step's stack reaches the user as one message; Beam would log it once a layer.
    logging.getLogger("apache_beam").setLevel(logging.INFO if level == "DEBUG" else logging.CRITICAL)


if __name__ == "__main__":
    console()
