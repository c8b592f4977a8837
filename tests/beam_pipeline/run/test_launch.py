from __future__ import annotations

import json
import shutil

import pytest

from beam_pipeline.run.launch import cause
from tests import hub
from tests.conftest import SAMPLES
from transforms.engines.catalog import ModelError

FAILED, USAGE = 1, 2
TRACE = """Traceback (most recent call last):
  File "x.py", line 1, in f
    raise OSError("disk")
transforms.engines.handler.ModelError: cannot load the model x [while running 'A/B']
"""


JAVA_TRACE = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(Handler.java:180)
Caused by: java.lang.RuntimeException: WorkerError: this worker cannot run the job: there is no ffmpeg
\tat org.apache.beam.runners.fnexecution.environment.ExternalEnvironmentFactory.createEnvironment(Factory.java:97)
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelError("cannot load the model x [while running 'A/B']"), "cannot load the model x"),
        (RuntimeError(TRACE), "cannot load the model x"),
        (RuntimeError(JAVA_TRACE), "this worker cannot run the job: there is no ffmpeg"),
        (
            RuntimeError("a.B: it broke\n\tat a.B.c(B.java:1)\nCaused by: a.C: a reason\n\t... 19 more"),
            "RuntimeError\na.B: it broke\nCaused by: a.C: a reason",
        ),
        (
            ZeroDivisionError("float division by zero [while running 'A']"),
            "ZeroDivisionError\nfloat division by zero",
        ),
    ],
)
def test_the_user_gets_the_cause_and_not_beams_stack(error, told):
    assert cause(error) == told


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
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert advice in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_cannot_be_had_fails_the_run_with_one_message(cli, tmp_path):
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    done = cli("--input", SAMPLES / "letter.flac", "--output", tmp_path / "out", "--model", "org/nothere", env=env)
    assert done.returncode == FAILED
    assert "the model org/nothere is not on this machine, and the hub cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_lists_what_would_be_done_and_does_nothing(cli, tmp_path):
    out = tmp_path / "out"
    done = cli("--input", SAMPLES, "gone.mp4", "--output", out, "--model", "demo", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "transcribe    letter.flac" in done.stdout
    assert "failed: missing  gone.mp4" in done.stdout
    totals = ["7 transcribe, 1 failed: missing", "passed over: 2 not_by_suffix (2 .json)"]
    assert done.stdout.splitlines()[-2:] == totals
    assert not out.exists()


def test_a_model_on_the_hub_is_the_commit_that_its_branch_is_at_when_the_run_starts(cli, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    shutil.copy(SAMPLES / "letter.flac", tmp_path / "in")
    flags = ["--input", tmp_path / "in", "--output", tmp_path / "out", "--model", hub.MODEL, "--formats", "txt"]
    with hub.hub() as address:
        env = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache")}
        done = cli(*flags, env=env)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / "out/run.json").read_text())
        assert record["model"]["identity"] == f"{hub.MODEL}@{hub.COMMIT}"
        assert record["options"]["model_revision"] == ""
        assert cli(*flags, "--dry_run", env=env).stdout.splitlines()[-1] == "1 done before"
        monkeypatch.setattr(hub, "COMMIT", "f" * 40)  # the branch moves
        assert cli(*flags, "--dry_run", env=env).stdout.splitlines()[-1] == "1 transcribe"
        pinned = cli(*flags, "--dry_run", "--model_revision", record["model"]["identity"].split("@")[1], env=env)
        assert pinned.stdout.splitlines()[-1] == "1 done before"
    offline = cli(*flags, "--dry_run", env=env | {"HF_HUB_OFFLINE": "1"})
    assert offline.stdout.splitlines()[-1] == "1 done before"  # this machine has that commit
