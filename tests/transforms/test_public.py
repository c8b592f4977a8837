"""What somebody imports who builds a graph of their own from the steps."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import transforms
from tests.conftest import ROOT


def python(code, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment)


def test_every_name_is_there_and_importing_the_package_imports_nothing_else(tmp_path):
    assert sorted(transforms.MODULES) == transforms.__all__
    assert all(getattr(transforms, name).__name__ == name for name in transforms.__all__)
    done = python(
        "import sys, transforms; print([name for name in sys.modules if name.startswith('transforms.')])", tmp_path
    )
    assert done.stdout.strip() == "[]"


def test_the_graph_of_the_docstring_runs(tmp_path):
    lines = transforms.__doc__.split("and needs no model:\n")[1].split("\nImporting")[0]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = python(textwrap.dedent(lines), tmp_path)
    assert done.returncode == 0, done.stderr
    starts = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, *_ in starts} == {"market.mp4"}
    assert all(0 <= float(start) < 30 and 1 < float(length) <= 30 for _, start, length in starts)
