from __future__ import annotations

import json
import shutil

import pytest

from tests import hub
from tests.conftest import SAMPLES
from tests.runs import run_anew

FAILED, USAGE = 1, 2


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["--input", "gone.mp4"], "no media found. gone.mp4: There is no file at this path"),
        (["--input", "."], "no media found. .: The pattern matches no file, or the folder holds no media"),
        (["--input", SAMPLES, "--output", "/proc/there"], "--output /proc/there cannot be written"),
        (["--input", SAMPLES, "--output", __file__], "cannot be written: "),
        (["--input", SAMPLES, "--device", "cuda:7"], "device cuda:7: torch finds none here"),
    ],
)
def test_what_cannot_work_is_found_before_any_work(cli, tmp_path, words, advice):
    done = cli("--output", tmp_path / "out", "--model", "demo", *words)
    assert (done.code, done.out) == (USAGE, "")
    assert advice in done.err
    assert "Traceback" not in done.err


def test_a_model_that_cannot_be_had_fails_the_run_with_one_message(tmp_path):
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    flags = ["--input", SAMPLES / "letter.flac", "--output", tmp_path / "out", "--model", "org/nothere"]
    done = run_anew(*flags, env=env, cwd=tmp_path)
    assert done.code == FAILED
    assert "the model org/nothere is not on this machine, and the hub cannot be reached" in done.err
    assert "Traceback" not in done.err


@pytest.mark.long(17)
def test_a_model_on_the_hub_is_the_commit_that_its_branch_is_at_when_the_run_starts(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    shutil.copy(SAMPLES / "letter.flac", tmp_path / "in")
    flags = ["--input", tmp_path / "in", "--output", tmp_path / "out", "--model", hub.MODEL, "--formats", "txt"]
    with hub.hub() as address:
        env = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache")}
        done = run_anew(*flags, env=env, cwd=tmp_path)
        assert done.code == 0, done.err
        record = json.loads((tmp_path / "out/run.json").read_text())
        assert record["model"]["identity"] == f"{hub.MODEL}@{hub.COMMIT}"
        assert record["options"]["model_revision"] == ""
        assert run_anew(*flags, "--dry_run", env=env, cwd=tmp_path).out.splitlines()[-1] == "1 done before"
        monkeypatch.setattr(hub, "COMMIT", "f" * 40)  # the branch moves
        assert run_anew(*flags, "--dry_run", env=env, cwd=tmp_path).out.splitlines()[-1] == "1 transcribe"
        pinned = run_anew(
            *flags, "--dry_run", "--model_revision", record["model"]["identity"].split("@")[1], env=env, cwd=tmp_path
        )
        assert pinned.out.splitlines()[-1] == "1 done before"
    offline = run_anew(*flags, "--dry_run", env=env | {"HF_HUB_OFFLINE": "1"}, cwd=tmp_path)
    assert offline.out.splitlines()[-1] == "1 done before"  # this machine has that commit
