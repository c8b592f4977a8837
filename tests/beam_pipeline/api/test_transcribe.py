"""A run called from Python gives what the command line gives, and leaves its caller in peace."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest

from beam_pipeline import NoRunError, OutputInUseError, Result, RunFailedError, UsageError, transcribe
from beam_pipeline.run.heartbeat import heartbeat
from runners.flink.rest import Cluster
from tests.conftest import ROOT, SAMPLES, with_noise
from tests.runs import contents, counters, letters, run, table, timeless, transcripts
from transforms.storage import Stores
from transforms.work.lease import acquire
from transforms.work.store import WorkStore

DONE, DEAD_LETTERS = 0, 3
NAMES = ("letter.flac", "village.opus")
# of a recording: several batches, so that a run can be stopped between two
COPIES = 14
TABLES = ("transcripts", "segments", "dead_letters")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Two good media and a bad one."""
    folder = tmp_path_factory.mktemp("media")
    return with_noise(folder, NAMES)


@pytest.fixture(scope="module")
def called(media, tmp_path_factory):
    """The result of one call, with options of each kind: a word, a number, a list, a switch, and one of Beam's."""
    output = tmp_path_factory.mktemp("called") / "out"
    kinds = {"num_shards": 2, "formats": ("json", "srt"), "overwrite": True, "max_media_hours": 0.5}
    return transcribe(media, output, model="demo", translate_to="en", direct_num_workers=1, **kinds)


@pytest.fixture(scope="module")
def by_command(media, tmp_path_factory):
    """The output of the command line with the same options."""
    output = tmp_path_factory.mktemp("by_command") / "out"
    words = ["--input", media, "--output", output, "--model", "demo", "--translate_to", "en", "--num_shards", 2]
    ended = run(*words, "--formats", "json", "srt", "--overwrite", "--max_media_hours", 0.5, "--direct_num_workers=1")
    assert ended.code == DEAD_LETTERS, ended.said
    return output


def rows(result):
    """Every row of every table that the result gives."""
    return {name: list(getattr(result, name)()) for name in TABLES}


def test_the_rows_are_those_of_the_dataset_and_of_the_command_line(called, by_command):
    output = pathlib.Path(called.output)
    assert rows(called) == {name: table(output, name) for name in TABLES}
    assert transcripts(output) == transcripts(by_command)
    assert {name: table(by_command, name) for name in TABLES[1:]} == {name: rows(called)[name] for name in TABLES[1:]}
    assert timeless(contents(output, "media")) == timeless(contents(by_command, "media"))
    assert {row["id"]: row["language"] for row in called.transcripts()} == dict.fromkeys(NAMES, "hi")


def test_media_that_failed_are_rows_and_no_exception(called, media):
    assert (called.exit_code, called.finished) == (DEAD_LETTERS, True)
    assert [(row["id"], row["code"]) for row in called.dead_letters()] == [("noise.mp3", "not_media")]
    assert {name: called.summary[name] for name in ("media", "transcripts", "dead_letters")} == {
        "media": 3,
        "transcripts": 2,
        "dead_letters": 1,
    }


def test_columns_can_be_chosen_and_a_wrong_one_is_refused_with_the_nearest(called):
    assert list(called.dead_letters(["code", "id"])) == [{"code": "not_media", "id": "noise.mp3"}]
    assert {frozenset(row) for row in called.segments(["text"])} == {frozenset({"text"})}
    with pytest.raises(UsageError, match=r"transcripts has no column transcript; did you mean transcription\?"):
        called.transcripts(["transcript"])


def test_rows_are_read_when_they_are_asked_for(called, tmp_path):
    moved = Result(str(tmp_path), called.run, called.exit_code, called.summary, called.stores)
    later = moved.transcripts(["id"])
    shutil.copytree(pathlib.Path(called.output, "transcripts"), tmp_path / "transcripts")
    assert sorted(row["id"] for row in later) == sorted(NAMES)
    with pytest.raises(NoRunError, match="no run on it has come to its end"):
        next(moved.segments())


@pytest.mark.long(18)
def test_a_second_call_does_nothing_twice(called, media):
    output, before = pathlib.Path(called.output), rows(called)
    again = transcribe(
        media, output, model="demo", translate_to="en", num_shards=2, formats=["srt", "json"], max_media_hours=0.5
    )
    assert again.exit_code == DEAD_LETTERS
    assert again.run != called.run
    assert not {"decode.media", "transcribe.windows"} & set(counters(output))
    assert rows(again) == before


@pytest.mark.long(15)
@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"modle": "demo"}, r"unknown argument --modle=demo; did you mean --model\?"),
        ({"direct_num_workers": "many"}, "argument --direct_num_workers: invalid int value: 'many'"),
        ({"model": "demo", "input": ["gone.mp4"]}, "no media found. gone.mp4: There is no file at this path"),
        ({"model": "demo", "output": "/proc/there"}, "--output /proc/there cannot be written"),
    ],
    ids=["unknown", "beam", "no media", "place"],
)
def test_wrong_usage_is_an_exception_with_the_words_of_the_command_line(tmp_path, capfd, options, advice):
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=advice):
        transcribe(**{"input": SAMPLES, "output": out, **options})
    assert isinstance(UsageError(), ValueError)
    assert capfd.readouterr() == ("", "")
    assert not out.exists()


@pytest.mark.long(4)
def test_a_run_that_fails_is_an_exception_with_the_cause_and_nothing_else(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(RunFailedError) as failed:
        transcribe(SAMPLES / "letter.flac", tmp_path / "out", model="org/nothere")
    assert str(failed.value).startswith("the model org/nothere is not on this machine, and the hub cannot be reached")
    assert "\n" not in str(failed.value)
    assert isinstance(failed.value, RuntimeError)
    assert capfd.readouterr() == ("", "")


@pytest.mark.long(6)
def test_too_many_failures_fail_the_call(media, tmp_path):
    with pytest.raises(RunFailedError, match=r"1 of \d media failed, more than --max_failures 0 allows"):
        transcribe(media, tmp_path / "out", model="demo", max_failures=0)


@pytest.mark.long(5)
def test_an_output_that_another_run_writes_to_is_refused(media, tmp_path):
    work = WorkStore(str(tmp_path / "out"), "a", "b", stores=Stores(), run="other")
    with heartbeat(acquire(work), dict), pytest.raises(OutputInUseError, match=r"another run \(other, process"):
        transcribe(media, tmp_path / "out", model="demo")


@pytest.mark.long(5)
def test_a_run_whose_process_dies_is_told_of(media, tmp_path, children):
    def kill():
        while not list((tmp_path / "out").glob("run.json")):
            time.sleep(0.05)  # polls a file that another process writes
        children()[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(RunFailedError, match=r"the process of the run was killed \(Killed\)"):
        transcribe(media, tmp_path / "out", model="demo")
    killer.join()


@pytest.mark.long(9)
def test_what_the_run_logs_reaches_the_callers_log_from_the_callers_levels_on(media, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "beam_pipeline"):
        transcribe(media / "village.opus", tmp_path / "out", model="demo")
    told = {(record.name, record.levelname, record.getMessage()) for record in caplog.records}
    assert ("beam_pipeline", "INFO", f"output {tmp_path / 'out'}") in told
    assert {name for name, _, _ in told} == {"beam_pipeline"}


CALLER = """
    import json, logging, os, signal, sys, threading
    from beam_pipeline import transcribe
    assert not {"apache_beam", "torch", "pyarrow"} & set(sys.modules)

    def state():
        loggers = {name: (each.level, each.handlers, each.disabled) for name, each in
                   logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)}
        root = (logging.root.level, list(logging.root.handlers), logging.root.manager.disable)
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
        return loggers, root, handlers, os.getcwd(), dict(os.environ), sys.path[:], threading.active_count()

    before = state()
    result = transcribe(sys.argv[1], sys.argv[2], model="demo")
    assert state() == before, state()
    assert result.exit_code == 0
    assert not {"apache_beam", "torch"} & set(sys.modules)
    assert [row["id"] for row in result.transcripts()] == ["village.opus"]
    assert not {"apache_beam", "torch"} & set(sys.modules)
"""


def caller(code, *words):
    """A process that calls, not yet ended."""
    command, pipe = [sys.executable, "-c", textwrap.dedent(code), *map(str, words)], subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.long(9)
def test_nothing_of_the_callers_process_is_touched_and_nothing_is_printed(media, tmp_path):
    process = caller(CALLER, media / "village.opus", tmp_path / "out")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out == ""
    # the one warning of Python's last resort: that of the demo model
    assert err.splitlines() == [err.strip()]
    assert err.startswith("The demo model knows a small vocabulary")


@pytest.mark.long(11)
def test_calls_from_threads_run_side_by_side(media, tmp_path):
    results = {}

    def call(name):
        results[name] = transcribe(media / name, tmp_path / name, model="demo")

    threads = [threading.Thread(target=call, args=[name]) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: [row["id"] for row in results[name].transcripts(["id"])] for name in NAMES} == {
        name: [name] for name in NAMES
    }


@pytest.fixture
def copies(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for copy in range(COPIES):
        shutil.copy(SAMPLES / "market.mp4", folder / f"{copy}.mp4")
    return folder


INTERRUPTED = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in the background
    from beam_pipeline import transcribe
    try:
        transcribe(sys.argv[1], sys.argv[2], model="demo")
    except KeyboardInterrupt:
        import psutil
        print("interrupted", [child.name() for child in psutil.Process().children(recursive=True)])
"""


def is_decoder(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return "ffmpeg" in process.name()
    return False


def stopped(copies, out, number):
    """What a caller said that was stopped behind the first transcript, when every process of it has ended."""
    process = caller(INTERRUPTED, copies, out)
    until, children = time.monotonic() + 120, []
    while not (list(out.glob("media/*.json")) and any(map(is_decoder, children))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)  # polls what another process writes and starts
        children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    _, still = psutil.wait_procs(children, timeout=30)
    assert [child for child in still if child.status() != psutil.STATUS_ZOMBIE] == []
    return said


@pytest.mark.long(10)
def test_the_run_of_a_caller_that_is_killed_ends_with_it(copies, tmp_path):
    assert stopped(copies, tmp_path / "out", signal.SIGKILL) == ""
    assert len(list((tmp_path / "out").glob("_work/asr/*/*/*.json"))) < COPIES


@pytest.mark.long(25)
def test_an_interrupt_comes_out_when_the_run_has_ended_and_the_next_call_goes_on(copies, tmp_path):
    out = tmp_path / "out"
    assert stopped(copies, out, signal.SIGINT) == "interrupted []\n"
    committed = len(list(out.glob("_work/asr/*/*/*.json")))
    assert 1 <= committed < COPIES
    result = transcribe(copies, out, model="demo")
    assert counters(out)["decode.media"] == COPIES - committed
    assert len({row["transcription"] for row in result.transcripts()}) == 1
    assert result.summary["media"] == COPIES


@pytest.mark.long(10)
def test_places_in_a_store_that_a_config_file_names_are_read_and_written(moto, tmp_path, monkeypatch):
    for setting in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        name = moto.profile.variable(setting)
        monkeypatch.setenv(name, moto.environment[name])
    base = f"s3://moto@{moto.new_bucket()}"
    Stores((moto.profile,)).serving(base).put(f"{base}/in/a.opus", (SAMPLES / "village.opus").read_bytes())
    (tmp_path / "job.yaml").write_text(
        f"model: demo\ninput: {base}/in\nnum_shards: 3\nstores:\n  moto:\n    endpoint: {moto.endpoint}\n"
    )
    result = transcribe(output=f"{base}/out", config=tmp_path / "job.yaml", num_shards=1)
    assert (result.output, result.exit_code) == (f"{base}/out", DONE)
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    assert list(result.segments()) == table(f"{base}/out", "segments")
    assert letters(f"{base}/out") == {}
    assert os.path.basename(next(result.transcripts(["uri"]))["uri"]) == "a.opus"  # noqa: PTH119 - a URI


def job_in(cluster, run_name):
    job = Cluster(cluster.address).job_named(f"beam-pipeline-{run_name}")
    assert job is not None
    return job


@pytest.mark.long(40)
def test_a_job_that_is_left_to_its_cluster_gives_its_rows_when_it_has_ended(flink_cluster, media, tmp_path):
    options = {"model": "demo", "runner": "FlinkRunner", "flink_master": flink_cluster.address}
    result = transcribe(media, tmp_path / "out", no_wait=True, **options)
    assert (result.finished, result.exit_code, result.summary) == (False, DONE, {})
    with pytest.raises(NoRunError):
        next(result.transcripts())
    until = time.monotonic() + 300
    while not job_in(flink_cluster, result.run).ended:
        assert time.monotonic() < until
        time.sleep(0.2)  # polls the cluster
    assert sorted(row["id"] for row in result.transcripts()) == sorted(NAMES)
    assert [row["code"] for row in result.dead_letters()] == ["not_media"]


ON_FLINK = """
    import signal, sys
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in the background
    from beam_pipeline import transcribe
    try:
        transcribe(sys.argv[1], sys.argv[2], model="demo", runner="FlinkRunner", flink_master=sys.argv[3])
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.long(40)
def test_an_interrupt_cancels_the_job_in_the_cluster(flink_cluster, copies, tmp_path):
    process = caller(ON_FLINK, copies, tmp_path / "out", flink_cluster.address)
    until = time.monotonic() + 200
    while not list((tmp_path / "out").glob("media/*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)  # polls a file that another process writes
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "interrupted\n"
    run_name = json.loads((tmp_path / "out" / "run.json").read_text())["run"]
    assert job_in(flink_cluster, run_name).state in ("CANCELED", "CANCELLING")
