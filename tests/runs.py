"""Whole runs of the main job, and what they left behind.

A run is a process of its own, forked from one that has imported everything already: it starts at once, and can be
killed at any change that it makes to its output.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
import signal
import tempfile
import threading
from typing import Any, NamedTuple

import duckdb

CHANGES = ("put", "put_new", "put_file", "delete")
PRELOADED = ["beam_pipeline.launch", "transforms.models.whisper_model", "transforms.models.openai_translator"]
TIMES = ("decode_sec", "infer_sec")  # differ from run to run

_starts = multiprocessing.get_context("forkserver")
_starts.set_forkserver_preload(["tests.runs", *PRELOADED, "silero_vad", "torch", "transforms.storage.s3"])


class Ran(NamedTuple):
    """How a run ended: its exit code (negative: the signal that killed it), what it printed, what it changed."""

    code: int
    said: str
    changes: list[str]  # "put _work/…", in order


def run(*words: object, env: dict[str, str] | None = None, stop_after: int = 0, timeout: float = 120) -> Ran:
    """Run the main job; `stop_after` kills it with SIGKILL behind so many changes of its output."""
    with tempfile.TemporaryDirectory() as folder:
        said, changes = pathlib.Path(folder, "said"), pathlib.Path(folder, "changes")
        arguments = (list(map(str, words)), env or {}, said, changes, stop_after)
        process = _starts.Process(target=_run, args=arguments)
        process.start()
        process.join(timeout)
        hung = process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode is not None
        assert not hung, f"still running after {timeout} s:\n{said.read_text()}"
        return Ran(process.exitcode, said.read_text(), changes.read_text().splitlines())


def _run(words: list[str], env: dict[str, str], said: pathlib.Path, changes: pathlib.Path, stop_after: int) -> None:
    for number, path in ((1, said), (2, said)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.update(env)
    from beam_pipeline.__main__ import console, main  # noqa: F401

    output = words[words.index("--output") + 1]
    _watch(output, changes, stop_after)
    code = main(words)
    os._exit(code)


def _watch(output: str, changes: pathlib.Path, stop_after: int) -> None:
    """Note every change of the output, and end the process behind the one of this number."""
    from transforms.storage import Stores

    kind: Any = type(Stores().serving(output))
    changing, number = threading.Lock(), 0
    log = changes.open("w")

    def watched(name: str) -> Any:
        change = getattr(kind, name)

        def changed(store: Any, uri: str, *rest: Any) -> Any:
            nonlocal number
            result = change(store, uri, *rest)
            with changing:
                number += 1
                log.write(f"{name} {uri.removeprefix(store.canonical(output)).lstrip('/')}\n")
                log.flush()
                if number == stop_after:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return changed

    for name in CHANGES:
        setattr(kind, name, watched(name))


def counters(output: pathlib.Path) -> dict[str, int]:
    """What the last run counted."""
    return json.loads((output / "run.json").read_text())["counters"]


def transcripts(output: pathlib.Path) -> dict[str, dict[str, str]]:
    """The rows of the dataset by id, without the figures of time."""
    rows = duckdb.sql(f"select * from '{output}/transcripts/*.parquet'").to_df().to_dict("records")
    return {row["id"]: {k: str(v) for k, v in row.items() if k not in TIMES} for row in rows}


def letters(output: pathlib.Path) -> dict[str, str]:
    """The code of each dead letter by id."""
    return dict(duckdb.sql(f"select id, code from '{output}/dead_letters/*.parquet'").fetchall())


def files(output: pathlib.Path) -> dict[str, bytes]:
    """What people use of a run, by name."""
    root = output / "media"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def timeless(content: dict[str, bytes]) -> dict[str, Any]:
    """The files without the figures of time."""
    return {
        name: {k: v for k, v in json.loads(data).items() if k not in TIMES} if name.endswith(".json") else data
        for name, data in content.items()
    }


def layer(output: pathlib.Path, name: str) -> set[str]:
    """The objects of a layer that have content."""
    root = output / "_work" / name
    return {str(path.relative_to(root)) for path in root.rglob("*.json") if path.stat().st_size}
