"""What the user is told when a run has come to its end, and why one did not."""

from __future__ import annotations

import logging
import re
from typing import Any

from beam_pipeline.run.job import Job
from beam_pipeline.terminal import print_status
from transforms.inputs.folders import skipped_in_words
from transforms.storage.texts import printable, shell
from transforms.work.exit_code import ExitCode

KNOWN_ERRORS = (  # their message is enough
    "ModelError", "StorageError", "LookupError", "PermissionError", "OSError", "OccupiedError",
    "TooManyFailuresError", "RunnerError", "WorkerError", "SecretError", "ScratchError",
)  # fmt: skip

log = logging.getLogger("beam_pipeline")


def tell_outcome(job: Job, summary: dict[str, Any]) -> ExitCode:
    """Print the result, and return its exit code.

    Raises:
        TooManyFailuresError: more media failed than --max_failures allows.
    """
    this_run = summary["this_run"]
    print_status(
        f"{summary['transcripts']} transcripts, {summary['dead_letters']} dead letters in {printable(job.output)}"
    )
    if this_run.get("audio_sec"):
        audio, wall = this_run["audio_sec"], this_run["wall_sec"]
        print_status(f"this run: {audio:.0f} s of audio in {wall:.0f} s, {audio / max(wall, 0.1):.1f} x real time")
    if summary["skipped"]:
        log.info("passed over: %s. Which: --dry_run", skipped_in_words(summary))
    if files := this_run.get("files_removed"):
        print_status(f"{this_run['left']} media left the input: {files} files of theirs were removed")
    if left := this_run.get("left_and_kept"):
        print_status(
            f"{left} media left the input, as it seems; not all of it could be listed, so their files were kept"
        )
    if not summary["dead_letters"]:
        return ExitCode.DONE
    failures = ", ".join(f"{number} {code}" for code, number in summary["failures"].items())
    why = shell(["python", "-m", "beam_pipeline.failures", "--output", job.output])
    print_status(f"not done: {failures}. Why, and how to try again: {why}")
    failed = this_run.get("dead_letters", 0)
    job.save.limit.check(failed, failed + this_run.get("media", 0), at_end=True)
    return ExitCode.WITH_DEAD_LETTERS


def cause(error: BaseException) -> str:
    """The cause of a failure, extracted from the worker's stack trace that Beam passes on as text.

    Of the errors that tell the user what to do, the message alone; of others the last lines of the trace too.
    """
    text = re.sub(r" \[while running .*", "", str(error)).strip()
    if type(error).__name__ in KNOWN_ERRORS:
        return text
    for name, message in reversed(re.findall(r"\b(\w*Error): (.*)$", text, re.MULTILINE)):  # Java's may stand before
        if name in KNOWN_ERRORS:
            return message
    lines = [line for line in text.splitlines() if not re.match(r"\s+(at |\.\.\. \d+ more)", line)]  # Java's frames
    return "\n".join([type(error).__name__, *lines[-8:]])
