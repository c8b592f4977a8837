"""Makes the inputs of a case, and runs the main job on them as a user would."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow.parquet
import pytest

from tests import runs

MAKE = pathlib.Path(__file__).parent / "make"
SECONDS = 10  # that a file of cases takes, about
PROGRAMS = ("ffmpeg", "espeak-ng", "sox")


class CaseRun(NamedTuple):
    """One run of the main job: its exit code, what it said, and its output."""

    code: int
    said: str
    output: pathlib.Path

    def rows(self, table: str = "transcripts") -> dict[str, dict[str, Any]]:
        """The rows of `transcripts` or `dead_letters` by id."""
        found = pyarrow.parquet.read_table(self.output / table).to_pylist()
        assert len(found) == len({row["id"] for row in found}), f"ids of {table} are not unique"
        return {row["id"]: row for row in found}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every case is made anew by a script, and is a run of its own: long, all of them."""
    for item in items:
        if pathlib.Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.long(SECONDS))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pathlib.Path]:
    """Gives the folder that a case's script has filled, made once a session; skips where a program is missing."""
    folders: dict[tuple[str, ...], pathlib.Path] = {}

    def make(name: str, *arguments: str) -> pathlib.Path:
        missing = [program for program in PROGRAMS if not shutil.which(program)]
        if missing:
            pytest.skip(f"NOT TESTED: no {', '.join(missing)} to make the case with")
        if (name, *arguments) not in folders:
            folder = tmp_path_factory.mktemp(name)
            command = ["bash", str(MAKE / f"{name}.sh"), str(folder), *arguments]
            path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])  # for its python3
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": path}
            )
            assert done.returncode == 0, done.stderr
            folders[(name, *arguments)] = folder
        return folders[(name, *arguments)]

    return make


@pytest.fixture
def main_job(tmp_path: pathlib.Path) -> Callable[..., CaseRun]:
    """Runs the main job with the demo model in a folder, on its `in` unless told, and returns how it ended."""

    def run(folder: pathlib.Path, *words: object, output: str | None = None, **settings: Any) -> CaseRun:
        place = pathlib.Path(folder, output) if output else tmp_path / "out"
        given = [*words, *(("--input", "in") if "--input" not in words else ())]
        ran = runs.run(*given, "--output", output or place, "--model", "demo", cwd=folder, **settings)
        return CaseRun(ran.code, ran.said, place)

    return run
