"""Modules of the user's own in the current folder are not taken for packages of the same name."""

from __future__ import annotations

import json

import pytest

from tests.conftest import ROOT, SAMPLES
from tests.shell import shell

pytestmark = pytest.mark.long(25)

NAMES = ("transforms", "runners", "ffmpeg", "openai", "numpy", "torch", "onnxruntime", "yaml")
JOB = f"--input {SAMPLES}/village.opus --output out --model demo"
WORKERS = "--direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.fixture
def folder(tmp_path):
    """A folder in which every one of these modules would end the run."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the {name}.py of the user')")
    return tmp_path


def test_the_command_and_its_workers_pass_them_by(folder):
    done = shell(folder, f'"$PYTHON" -m beam_pipeline {JOB} {WORKERS}')
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "out" / "media" / "village.json").read_text())["transcription"]


@pytest.mark.parametrize(
    "line",
    [
        f'"$PYTHON" -m beam_pipeline {JOB} --dry_run',
        f'PYTHONPATH=:$PYTHONPATH "$PYTHON" bin/beam-pipeline {JOB} --dry_run',
        '"$PYTHON" -m beam_pipeline.status --help',
        '"$PYTHON" -m beam_pipeline.templates.flex --help',
    ],
)
def test_every_way_to_start_it_passes_them_by(folder, line):
    (folder / "bin").mkdir()
    (folder / "bin" / "beam-pipeline").write_text("from beam_pipeline.__main__ import console\nconsole()\n")
    done = shell(folder, line)
    assert done.returncode == 0, done.stderr


def test_a_call_from_python_passes_by_what_its_caller_does_not_import(folder):
    for name in ("transforms", "runners"):
        (folder / f"{name}.py").unlink()
    code = "import sys; sys.path[0] = ''; import beam_pipeline as b; print(b.transcribe('gone', 'out', model='demo'))"
    done = shell(folder, f'"$PYTHON" -c "{code}"')
    assert done.stderr.splitlines()[-1].startswith("beam_pipeline.errors.UsageError: no media found. gone: ")


def test_a_program_that_imports_the_package_keeps_its_path(folder):
    (folder / "transforms.py").unlink()
    (folder / "runners.py").unlink()
    (folder / "program.py").write_text("import beam_pipeline, sys; print(sys.path[0])")
    assert shell(folder, '"$PYTHON" -m program').stdout == f"{folder}\n"


def test_a_checkout_is_found_from_where_it_lies():
    done = shell(ROOT, '"$PYTHON" -m beam_pipeline.status --output gone', PYTHONPATH=None)
    assert "no run has written to" in done.stderr
