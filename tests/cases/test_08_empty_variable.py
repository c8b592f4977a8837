"""An empty shell variable never means the current folder: the error says which flag is empty."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def command(folder, module, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    made = [sys.executable, "-m", module, *words]
    return subprocess.run(made, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--input", "", "--output", "out"], "--input is empty"),
        (["--input", "talk.mp3", " \t", "--output", "out"], "--input is empty"),
        (["--input", "file://", "--output", "out"], "--input is empty"),
        (["--input", "talk.mp3", "--output", ""], "--output is empty"),
        (["--config", "", "--input", "talk.mp3", "--output", "out"], "--config is empty"),
        (["--config", "empty.yaml", "--output", "out"], "--input is empty"),
        (["--config", "blank.yaml"], "--output is empty"),
    ],
)
def test_an_empty_value_is_an_error_that_names_its_flag(made, words, says):
    folder = made("08-empty-variable")
    (folder / "empty.yaml").write_text("input:\n")
    (folder / "blank.yaml").write_text("input: talk.mp3\noutput: ''\n")
    before = sorted(folder.rglob("*"))
    ended = command(folder, "beam_pipeline", *words, "--model", "demo")
    assert ended.returncode == 2
    assert says in ended.stderr
    assert sorted(folder.rglob("*")) == before


def test_nor_does_an_empty_output_that_is_looked_at(made):
    ended = command(made("08-empty-variable"), "beam_pipeline.status", "--output", " ")
    assert (ended.returncode, ended.stderr) == (2, "error: --output is empty: is a variable not set?\n")
