"""Noting what workers do, so that work done twice can be counted from outside, whatever is killed."""

from __future__ import annotations

import os
import pathlib
from collections import Counter
from typing import Any, NamedTuple

SEEN = "NOTED_WORK"  # names the file that workers note in


def note_work() -> None:
    """Let this process note each window that it infers and each chunk that it commits, in one file for all."""
    from transforms.engines.whisper_model import WhisperModel
    from transforms.work.store import WorkStore, chunk_name, source_id

    seen = os.open(os.environ[SEEN], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(what: str, chunk: Any, window: int) -> None:
        line = f"{what} {source_id(chunk.media)} {chunk_name(chunk)} {window} {os.getpid()}\n"
        os.write(seen, line.encode())  # one write of a short line is whole, whoever else writes

    transcribe, commit_chunk = WhisperModel.transcribe, WorkStore.commit_chunk

    def noted_transcribe(self: Any, windows: Any) -> Any:
        for window in windows:
            note("infer", window.chunk, window.number)
        return transcribe(self, windows)

    def noted_commit(self: Any, transcript: Any) -> None:
        commit_chunk(self, transcript)
        note("commit", transcript.chunk, 0)

    WhisperModel.transcribe, WorkStore.commit_chunk = noted_transcribe, noted_commit  # type: ignore[method-assign]


class Work(NamedTuple):
    """What was noted."""

    inferred: Counter[str]  # by window
    chunks: Counter[str]  # windows inferred, by chunk
    # windows that were inferred when their chunk was committed already
    after_commit: list[str]
    workers: list[str]  # pids that inferred


def work(path: pathlib.Path) -> Work:
    """All that was done, by whatever processes."""
    found, committed = Work(Counter(), Counter(), [], []), set()
    for line in path.read_text().splitlines() if path.exists() else ():
        what, source, chunk, window, pid = line.split(" ")
        if what == "commit":
            committed.add((source, chunk))
            continue
        found.inferred[f"{source} {chunk} {window}"] += 1
        found.chunks[f"{source} {chunk}"] += 1
        if (source, chunk) in committed:
            found.after_commit.append(f"{source} {chunk} {window}")
        if pid not in found.workers:
            found.workers.append(pid)
    return found
