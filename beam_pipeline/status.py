"""The progress of a run, read from its output alone: `python -m beam_pipeline.status --output FOLDER`."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from beam_pipeline import terminal
from beam_pipeline.outputs.last_run import LastRun, read, run_query
from transforms.storage.texts import printable, shell
from transforms.work.exit_code import ExitCode

WATCH_EVERY_S = 3.0


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Print the state of the last run and return the exit code."""
    return run_query(argv, "beam_pipeline.status", "Tell what is done, failed, under way and left.", report)


def report(flags: argparse.Namespace) -> ExitCode:
    while True:
        found = figures(read(flags.output, flags.stores))
        text = json.dumps(found) if flags.json else "\n".join(map(printable, lines(found)))
        if not (terminal.print_result(text) and flags.watch and found["state"] == "running"):
            return ExitCode.DONE
        time.sleep(WATCH_EVERY_S)


def figures(run: LastRun) -> dict[str, Any]:
    """The run's state and counts; `media` is always `done` + `failed` + `left`."""
    heartbeat, state = run.last_heartbeat, run.state()
    done = [media for media in run.planned if run.is_done(media)]
    failed = [media for media in run.planned if run.is_failed(media)]
    left = len(run.planned) - len(done) - len(failed)
    counts = heartbeat.get("counts", {})
    under_way = int(counts.get("decode.begun", 0) - counts.get("transcribe.chunks", 0))
    shown = {
        "output": run.work.output,
        "run": run.work.run,
        "state": state,
        "exit_code": run.record.get("exit_code"),
        "host": heartbeat.get("host", run.record["host"]),
        "process": heartbeat.get("pid"),
        "started": run.record["started"],
        "ended": run.record.get("ended"),
        "media": len(run.planned),
        "done": len(done),
        "failed": len(failed),
        "left": left,
        "under_way": max(0, min(left, under_way)) if state == "running" else 0,
        "done_before": sum(not media.todo for media in [*done, *failed]),
        "summary": run.summary(),
    }
    return shown | speed(run, [media.size_bytes for media in [*done, *failed] if media.todo], shown)


def speed(run: LastRun, sizes: list[int], shown: dict[str, Any]) -> dict[str, Any]:
    """Media and bytes a second since the run began, and the seconds left by the bytes that are left."""
    seconds = _end(run, shown) - datetime.datetime.fromisoformat(run.record["started"]).timestamp()
    todo = sum(media.size_bytes for media in run.planned if media.todo)
    left_s = None
    if shown["state"] == "running" and sum(sizes):
        left_s = round(seconds * (todo - sum(sizes)) / sum(sizes))
    return {
        "seconds": round(seconds, 1),
        "media_per_s": round(len(sizes) / max(seconds, 0.1), 3),
        "mb_per_s": round(sum(sizes) / 1e6 / max(seconds, 0.1), 3),
        "seconds_left": left_s,
    }


def _end(run: LastRun, shown: dict[str, Any]) -> float:
    """Until when the run worked: now, its end, or its last sign of life."""
    if shown["ended"]:
        return datetime.datetime.fromisoformat(shown["ended"]).timestamp()
    return time.time() if shown["state"] == "running" else run.last_heartbeat.get("seen", time.time())


def lines(found: dict[str, Any]) -> list[str]:
    """The figures as lines of text."""
    ended = {"running": "running", "finished": f"finished with exit code {found['exit_code']}"}
    state = ended.get(found["state"], "stopped; the same command goes on where it was")
    shown = [f"{state}: run {found['run']}, process {found['process']} on {found['host']}, since {found['started']}"]
    if not found["media"]:
        return [*shown, "no media listed yet"]
    under_way = f" ({found['under_way']} under way)" if found["under_way"] else ""
    shown.append(
        f"{found['media']} media: {found['done']} done, {found['failed']} failed, {found['left']} left{under_way}"
    )
    shown.append(f"{found['media_per_s']:g} media/s, {found['mb_per_s']:g} MB/s over {found['seconds']:.0f} s")
    if found["seconds_left"] is not None:
        shown[-1] += f", about {max(1, round(found['seconds_left'] / 60))} min left"
    if found["failed"]:
        why = shell(["python", "-m", "beam_pipeline.failures", "--output", found["output"]])
        shown.append(f"why they failed: {why}")
    return shown


if __name__ == "__main__":
    sys.exit(main())
