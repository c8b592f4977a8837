"""The shipped DAG under a real Airflow: what each end of a run becomes, and what is kept of it."""

from __future__ import annotations

import json
import shutil
import socket

import psutil
import pytest

from runners.flink import parts
from tests.conftest import SAMPLES
from tests.dags import KEY
from tests.runs import counters, letters, table, transcripts

DAG = "transcribe_nightly"
MEDIA = 7
SKIPPED_ON_A_GOOD_NIGHT = {"transcribe_on_dataflow": "skipped", "warn_of_dead_letters": "skipped"}
TASKS = ("new_media", "choose_runner", "transcribe", "transcribe_on_dataflow", "report", "warn_of_dead_letters")
ALL_SKIPPED = dict.fromkeys(TASKS, "skipped")


@pytest.fixture
def folder(tmp_path):
    """One good recording and an empty one."""
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(SAMPLES / "village.opus", folder)
    (folder / "empty.wav").touch()
    return folder


@pytest.fixture(scope="module")
def on_direct(airflow, tmp_path_factory):
    """A run over the sample media on the direct runner, and its output."""
    output = tmp_path_factory.mktemp("direct") / "out"
    form = {"input": [str(SAMPLES)], "output": str(output), "model": "demo", "translate_to": "en"}
    return airflow.run(DAG, **form), output


def test_a_run_with_all_media_good_succeeds_and_hands_on_its_summary(on_direct):
    ended, output = on_direct
    assert ended.state == "success", ended.log
    assert {name: state for name, state in ended.tasks.items() if state != "success"} == SKIPPED_ON_A_GOOD_NIGHT
    summary = ended.returned["report"]
    assert (summary["media"], summary["transcripts"], summary["dead_letters"]) == (MEDIA, MEDIA, 0)
    assert summary == json.loads((output / "summary.json").read_text())
    assert len(transcripts(output)) == MEDIA
    assert "--labels=airflow-version=" in ended.log


def test_the_same_on_flink_gives_the_same_transcripts(airflow, on_direct, tmp_path):
    try:
        parts.java()
        parts.job_server()
    except parts.FlinkError as error:
        pytest.skip(f"NOT TESTED: the DAG on Flink: {error}")
    output = tmp_path / "out"
    form = {"input": [str(SAMPLES)], "output": str(output), "model": "demo", "translate_to": "en"}
    ended = airflow.run(DAG, **form, runner="FlinkRunner")
    assert ended.state == "success", ended.log
    assert ended.returned["report"]["transcripts"] == MEDIA
    assert transcripts(output) == transcripts(on_direct[1])


def test_a_bad_media_makes_a_warning_with_the_list_and_no_failure(airflow, folder, tmp_path):
    ended = airflow.run(DAG, input=[str(folder)], output=str(tmp_path / "out"), model="demo")
    assert ended.state == "success", ended.log
    assert ended.tasks["transcribe"] == ended.tasks["warn_of_dead_letters"] == "success"
    summary = ended.returned["report"]
    assert (summary["transcripts"], summary["dead_letters"], summary["failures"]) == (1, 1, {"empty_file": 1})
    (letter,) = table(tmp_path / "out", "dead_letters")
    told = {name: letter[name] for name in ("id", "code", "message", "retryable")}
    assert ended.returned["warn_of_dead_letters"] == [told]
    assert f"empty.wav: empty_file: {letter['message']}" in ended.log


def test_nothing_new_skips_the_night(airflow, on_direct):
    _, output = on_direct
    form = {"input": [str(SAMPLES)], "output": str(output), "model": "demo", "translate_to": "en"}
    ended = airflow.run("impatient", **form)
    assert ended.state == "success", ended.log
    assert ended.tasks == ALL_SKIPPED


def test_new_media_are_waited_for_without_a_worker(airflow, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    with airflow.running("impatient", input=[str(folder)], output=str(output), wait_hours=1) as going:
        going.until(lambda seen: seen.tasks["new_media"] == "up_for_reschedule")
        shutil.copy(SAMPLES / "village.opus", folder)
        ended = going.ended()
    assert ended.state == "success", ended.log
    assert list(transcripts(output)) == ["village.opus"]


@pytest.mark.parametrize(
    ("form", "task", "message"),
    [
        ({"translate_to": "fr", "more": {"translator": "whisper"}}, "new_media", "take --translator openai"),
        ({"runner": "DataflowRunner", "project": "p"}, "choose_runner", "needs region, template"),
    ],
)
def test_wrong_usage_fails_at_once_and_is_not_tried_again(airflow, folder, tmp_path, form, task, message):
    ended = airflow.run("impatient", input=[str(folder)], output=str(tmp_path / "out"), **form)
    assert (ended.state, ended.tasks[task], ended.tries[task]) == ("failed", "failed", 1), ended.log
    assert message in ended.log
    assert not (tmp_path / "out").exists()


def test_wrong_usage_that_only_the_run_can_find_is_not_tried_again_either(airflow, folder, tmp_path):
    with socket.create_server(("", 0)) as server:
        more = {"metrics_port": server.getsockname()[1]}
        ended = airflow.run("impatient", input=[str(folder)], output=str(tmp_path / "out"), more=more)
    assert (ended.state, ended.tasks["transcribe"], ended.tries["transcribe"]) == ("failed", "failed", 1), ended.log
    assert "the run: wrong usage" in ended.log


def test_a_run_that_fails_is_tried_again(airflow, folder, tmp_path):
    output = tmp_path / "out"
    with airflow.running("impatient", input=[str(folder)], output=str(output), max_failures=0) as going:
        seen = going.until(lambda seen: seen.tasks["transcribe"] == "up_for_retry")
        (folder / "empty.wav").unlink()
        ended = going.ended()
    assert "the run ended with exit code 1" in seen.log
    assert ended.state == "success", ended.log
    assert ended.tries["transcribe"] > 1
    assert (list(transcripts(output)), letters(output)) == (["village.opus"], {})


def test_a_run_that_is_killed_goes_on_where_it_was(airflow, tmp_path):
    output = tmp_path / "out"

    def saved():
        """The notes of media whose files are written."""
        return [path for path in (output / "_work" / "saved").rglob("*.json") if path.stem != "unfinished"]

    form = {"input": [str(SAMPLES)], "output": str(output), "more": {"batch_size": 1, "decode_ahead": 1}}
    with airflow.running("impatient", **form) as going:
        going.until(lambda _: saved())
        started = psutil.Process(going.process.pid).children()
        (pipeline,) = [each for each in started if "beam_pipeline" in each.cmdline()]
        pipeline.kill()
        before = len(saved())
        going.until(lambda seen: seen.tasks["transcribe"] == "up_for_retry")
        ended = going.ended()
    assert 0 < before < MEDIA
    assert ended.state == "success", ended.log
    assert len(transcripts(output)) == MEDIA
    assert 0 < counters(output)["decode.media"] <= MEDIA - before


def test_keys_come_from_the_connection_and_reach_no_log(airflow, tmp_path):
    (tmp_path / "in").mkdir()
    form = {"input": [str(tmp_path / "in")], "output": str(tmp_path / "out"), "translate_to": "fr"}
    ended = airflow.run("impatient", **form)  # without a key the product would call this wrong usage
    assert ended.tasks == ALL_SKIPPED, ended.log
    assert KEY not in ended.log
    assert KEY.encode() not in (airflow.home / "airflow.db").read_bytes()
