"""Removes what the last run on an output does not use: `python -m beam_pipeline.prune --output FOLDER --dry_run`."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import json
import re
import sys
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from beam_pipeline import terminal
from beam_pipeline.outputs.last_run import LastRun, read, run_query
from beam_pipeline.run.heartbeat import heartbeat
from runners.jobs import still_runs
from transforms.dofns.threads import map_in_threads
from transforms.storage import Entry, join
from transforms.work.exit_code import ExitCode
from transforms.work.lease import OccupiedError, acquire
from transforms.work.own_files import read_published, remove_files, was_begun
from transforms.work.store import WorkStore

GROUPS = {  # what is removed, as people are told
    "asr": "transcripts made with other options",
    "translation": "translations made with other options",
    "dead": "dead letters of other options",
    "plans": "plans of earlier runs",
    "left": "files of media that left the input",
    "notes": "notes of media that left the input",
}
LAYER = re.compile(r"[0-9a-f]{12}(-\d+)?/.+\.json")  # a name below asr, dead or a language of translation
KEY = re.compile(r"[0-9a-f]{32}")


class Size(NamedTuple):
    """How much of something there is."""

    objects: int = 0
    bytes: int = 0


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Remove what the last run does not use, and return the exit code."""
    return run_query(argv, "beam_pipeline.prune", "Remove what the last run on an output does not use.", report)


def report(flags: argparse.Namespace) -> ExitCode:
    run = read(flags.output, flags.stores)
    try:
        found = prune(run, flags.dry_run)
    except OccupiedError as error:
        terminal.print_error(f"error: {error}")
        return ExitCode.FAILED
    if flags.json:
        terminal.print_result(
            json.dumps({"dry_run": flags.dry_run, **{name: size._asdict() for name, size in found.items()}})
        )
    else:
        terminal.print_result("\n".join(lines(found, flags.dry_run)))
    return ExitCode.DONE


def lines(found: dict[str, Size], dry_run: bool) -> list[str]:
    """What was removed, or would be, as lines of text."""
    shown = [f"{size.objects:9,}  {size.bytes / 1e6:12,.1f} MB  {GROUPS[group]}" for group, size in found.items()]
    objects, size = (sum(column) for column in zip(*found.values(), strict=True)) if found else (0, 0)
    shown.append(f"{objects:9,}  {size / 1e6:12,.1f} MB  {'would be removed' if dry_run else 'removed'}")
    return shown


def prune(run: LastRun, dry_run: bool) -> dict[str, Size]:
    """Remove what the last run does not use, or only count it; how much there was of each kind.

    Raises:
        OccupiedError: a run writes to the output.
        ValueError: what the last run would use is not known.
    """
    if run.state() == "running":
        raise OccupiedError(f"run {run.work.run} is writing to {run.work.output}: wait until it ends")
    summary = run.summary()
    if summary is None:
        raise ValueError(f"the last run on {run.work.output} did not come to its end: run it again, then prune")
    whole = len(run.planned) >= summary["media"] and all(each.step != "CollectMedia" for each in run.dead_letters())
    planned = {media.name for media in run.planned} if whole else None  # a mount may be gone, and nothing has left
    if dry_run:
        return _removed(run.work, planned, dry_run)
    lease = acquire(dataclasses.replace(run.work, run=f"prune-{uuid.uuid4().hex[:12]}"), still_runs=still_runs)
    with heartbeat(lease, dict):
        found = _removed(run.work, planned, dry_run)
        begun = functools.partial(was_begun, run.work, read_published(run.work))
        run.work.store.sweep(run.work.output, begun)
    return found


def _removed(work: WorkStore, planned: set[str] | None, dry_run: bool) -> dict[str, Size]:
    found: dict[str, Size] = collections.defaultdict(Size)

    def remove(unused: tuple[str, Entry]) -> tuple[str, Entry]:
        if not dry_run:
            work.store.delete(unused[1].uri)
        return unused

    def add(group: str, objects: int, size: int) -> None:
        if objects:
            found[group] = Size(found[group].objects + objects, found[group].bytes + size)

    for group, entry in map_in_threads(remove, _unused(work)):
        add(group, 1, entry.size_bytes)
    for key, states in work.list_saved().items() if planned is not None else ():
        if planned is not None and key not in planned and KEY.fullmatch(key):
            files = remove_files(work, key, states, undigested=True, dry_run=dry_run)
            add("left", files.files, files.bytes)
            for note in work.store.list(join(work.output, "_work/saved", key)):
                add("notes", 1, remove(("notes", note))[1].size_bytes)
    return {group: found[group] for group in GROUPS if group in found}


def _unused(work: WorkStore) -> Iterator[tuple[str, Entry]]:
    """Objects of other options and other runs in the layers. Objects with unknown names are left alone."""
    for layer, used in work.in_use().items():
        for name, entry in _below(work, layer):
            shape = name.partition("/")[2] if layer == "translation" else name
            if LAYER.fullmatch(shape) and not (used and name.startswith(f"{used}/")):
                yield layer, entry
    for folder in ("runs", "gaps"):
        for name, entry in _below(work, folder):
            if name.endswith(".json") and not name.startswith((f"{work.run}/", f"{work.run}.")):
                yield "plans", entry


def _below(work: WorkStore, layer: str) -> Iterator[tuple[str, Entry]]:
    folder = work.store.canonical(join(work.output, "_work", layer)) + "/"
    for entry in work.store.list(folder):
        yield entry.uri.removeprefix(folder), entry


if __name__ == "__main__":
    sys.exit(main())
