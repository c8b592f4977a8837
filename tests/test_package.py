"""The built wheel works outside the checkout, demo model included."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT, SAMPLES, TRUTH

pytestmark = pytest.mark.long(20)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = ["beam_pipeline", "transforms", "runners", "pyproject.toml", "setup.py", "README.md", "LICENSE"]
    source.mkdir()
    for name in listed:  # a build writes beside its sources
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_packages_and_the_demo_model_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "beam_pipeline",
        "transforms",
        "runners",
    }
    assert {"transforms/engines/demo/model.safetensors", "transforms/engines/demo/README.md"} <= set(names)
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_console_script_of_an_installed_wheel_transcribes(wheel, tmp_path):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    flags = ["--input", str(SAMPLES / "village.opus"), "--output", "out", "--model", "demo"]
    command = [sys.executable, str(site / "bin" / "beam-pipeline"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    where = [sys.executable, "-P", "-c", "from transforms.engines import catalog; print(catalog.DEMO_FOLDER)"]
    found = subprocess.run(where, capture_output=True, text=True, cwd=tmp_path, env=environment, check=True)
    assert found.stdout.startswith(str(site))  # and not the checkout that is installed here
    text = json.loads((tmp_path / "out/media/village.json").read_text())["transcription"]
    assert text == " ".join(utterance["text"] for utterance in TRUTH["village.opus"]["utterances"])
