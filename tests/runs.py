"""Whole runs of the main job, and what they left behind.

A run is a process of its own, forked from one that has imported everything already: it starts at once, and can be
killed at any change that it makes to its output.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any, NamedTuple

import pyarrow.parquet

from transforms.storage import Store, Stores, join
from transforms.storage.profiles import read_profiles

CHANGES = ("put", "put_new", "put_file", "delete")
PRELOADED = ["beam_pipeline.run.launch", "transforms.engines.whisper_model", "transforms.translators.openai"]
Place = str | pathlib.Path
ROOT = pathlib.Path(__file__).parent.parent
TIMES = ("decode_sec", "infer_sec")  # differ from run to run

_starts = multiprocessing.get_context("forkserver")
_starts.set_forkserver_preload(["tests.runs", *PRELOADED, "silero_vad", "torch", "transforms.storage.s3"])


class Ran(NamedTuple):
    """How a run ended: its exit code (negative: the signal that killed it), what it printed, what it changed."""

    code: int
    out: str
    err: str
    changes: list[str]  # "put _work/…", in order

    @property
    def said(self) -> str:
        return self.out + self.err


def run(
    *words: object,
    env: dict[str, str] | None = None,
    stop_after: int = 0,
    of: str = "",
    timeout: float = 120,
    cwd: Place | None = None,
) -> Ran:
    """Run the main job; `stop_after` kills it with SIGKILL behind so many changes below `of` in its output."""
    with tempfile.TemporaryDirectory() as folder:
        out, err, changes = (pathlib.Path(folder, name) for name in ("out", "err", "changes"))
        for path in (out, err, changes):
            path.touch()
        here = cwd or pathlib.Path.cwd()
        arguments = (list(map(str, words)), {**os.environ, **(env or {})}, here, (out, err), changes, stop_after, of)
        process = _starts.Process(target=_run, args=arguments)
        process.start()
        process.join(timeout)
        hung = process.is_alive()
        process.kill()
        process.join()
        assert process.exitcode is not None
        ran = Ran(process.exitcode, out.read_text(), err.read_text(), changes.read_text().splitlines())
        assert not hung, f"still running after {timeout} s:\n{ran.said}"
        return ran


def run_anew(*words: object, env: dict[str, str], cwd: Place, timeout: float = 300) -> Ran:
    """Run the command line in a process that has imported nothing yet: some of what is imported reads variables."""
    command = [sys.executable, "-m", "beam_pipeline", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=timeout)
    return Ran(done.returncode, done.stdout, done.stderr, [])


def _run(
    words: list[str],
    env: dict[str, str],
    cwd: Place,
    said: tuple[pathlib.Path, pathlib.Path],
    changes: pathlib.Path,
    stop_after: int,
    of: str,
) -> None:
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    # the process that this one was forked from has that of its own start
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    from beam_pipeline.__main__ import main

    if "--output" in words:
        _watch(words[words.index("--output") + 1], changes, stop_after, of)
    code = main(words)
    sys.stdout.flush()
    os._exit(code)


def _watch(output: str, changes: pathlib.Path, stop_after: int, of: str) -> None:
    """Note every change of the output, and end the process behind the one of this number below `of`."""
    kind: Any = type(Stores().serving(output))
    changing, number = threading.Lock(), 0
    log = changes.open("w")

    def watched(name: str) -> Any:
        change = getattr(kind, name)

        def noted(store: Any, uri: str, *rest: Any) -> Any:
            nonlocal number
            result = change(store, uri, *rest)
            changed = uri.removeprefix(store.canonical(output)).lstrip("/")
            with changing:
                number += changed.startswith(of)
                log.write(f"{name} {changed}\n")
                log.flush()
                if number == stop_after:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return noted

    for name in CHANGES:
        setattr(kind, name, watched(name))


def place(output: Place) -> tuple[Store, str]:
    """The store of an output and its URI in it; profiles are those of the environment."""
    store = Stores(read_profiles({}, os.environ)).serving(str(output))
    return store, store.canonical(str(output))


def names(output: Place, below: str) -> set[str]:
    """The names of the objects below a folder of an output that have content."""
    store, root = place(output)
    folder = join(root, below)
    return {entry.uri.removeprefix(folder + "/") for entry in store.list(folder) if entry.size_bytes}


def contents(output: Place, below: str) -> dict[str, bytes]:
    """The objects below a folder of an output by name."""
    store, root = place(output)
    return {name: store.read(join(root, below, name)) for name in names(output, below)}


def counters(output: Place) -> dict[str, int]:
    """What the last run counted."""
    store, root = place(output)
    return json.loads(store.read(join(root, "run.json")))["counters"]


def table(output: Place, name: str) -> list[dict[str, Any]]:
    """The rows of a table of the dataset."""
    shards = sorted(contents(output, name).items())
    return [row for _, data in shards for row in pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()]


def transcripts(output: Place) -> dict[str, dict[str, Any]]:
    """The rows of the dataset by id, without the figures of time."""
    return {row["id"]: {k: v for k, v in row.items() if k not in TIMES} for row in table(output, "transcripts")}


def letters(output: Place) -> dict[str, str]:
    """The code of each dead letter by id."""
    return {row["id"]: row["code"] for row in table(output, "dead_letters")}


def files(output: Place) -> dict[str, bytes]:
    """What people use of a run, by name."""
    return contents(output, "media")


def timeless(content: dict[str, bytes]) -> dict[str, Any]:
    """The files without the figures of time."""
    return {
        name: {k: v for k, v in json.loads(data).items() if k not in TIMES} if name.endswith(".json") else data
        for name, data in content.items()
    }


def layer(output: Place, name: str) -> set[str]:
    """The objects of a layer."""
    return names(output, f"_work/{name}")
