"""What could not be done, by cause: `python -m beam_pipeline.failures --output FOLDER`."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence

from beam_pipeline import terminal
from beam_pipeline.outputs.last_run import LastRun, read, run_query
from transforms.records import DeadLetter, to_plain
from transforms.storage.texts import printable, shell
from transforms.work.exit_code import ExitCode

EXAMPLES = 3


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Print the failures of the last run and return the exit code."""
    return run_query(argv, "beam_pipeline.failures", "List what could not be done, by cause.", report)


def report(flags: argparse.Namespace) -> ExitCode:
    run = read(flags.output, flags.stores)
    letters = list(run.dead_letters())
    if flags.json:
        found = {"media": len(run.planned), "failures": to_plain(letters)}
        terminal.print_result(json.dumps(found, indent=1))
    else:
        terminal.print_result("\n".join(map(printable, lines(run, letters))))
    return ExitCode.DONE


def lines(run: LastRun, letters: list[DeadLetter]) -> list[str]:
    """The failures by code, the most frequent first, with examples, and the command that tries them again."""
    shown = [f"{len(letters)} of {len(run.planned)} media failed in {run.work.output}"]
    by_code = sorted(letters, key=lambda letter: letter.code)
    groups = [list(group) for _, group in itertools.groupby(by_code, key=lambda letter: letter.code)]
    for group in sorted(groups, key=len, reverse=True):
        shown += ["", f"{len(group)} {group[0].code}: {group[0].message}"]
        for letter in group[:EXAMPLES]:
            detail = letter.detail.strip().splitlines()
            shown.append(f"    {letter.media.id}" + (f": {detail[-1]}" if detail else ""))
        if len(group) > EXAMPLES:
            shown.append(f"    and {len(group) - EXAMPLES} more")
    if letters:
        retryable = sum(letter.retryable for letter in letters)
        shown += ["", f"Try them again ({retryable} of them may succeed as they are):", f"  {retry_command(run)}"]
    return shown


def retry_command(run: LastRun) -> str:
    words = [word for word in run.record["command"] if word not in ("--retry_failed", "--overwrite")]
    words = [word for word in words if not word.startswith("--template_location=")]  # a flex launcher's
    return shell(["python", "-m", "beam_pipeline", *words, "--retry_failed"])


if __name__ == "__main__":
    sys.exit(main())
