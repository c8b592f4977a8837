"""The main job on Flink, embedded and on a real cluster: what DirectRunner gives, whatever happens to the cluster."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.many_media import make_media
from runners.flink.rest import Cluster
from tests.conftest import ROOT, SAMPLES
from tests.flink import need_flink, prism
from tests.runs import files, letters, names, table, timeless, transcripts

pytestmark = pytest.mark.long(390)

CLIPS = 10
FLAGS = ["--model", "demo", "--translate_to", "en", "--chunk_minutes", "2"]


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> pathlib.Path:
    """Short clips, one recording of several chunks, and two that cannot be done."""
    folder = tmp_path_factory.mktemp("flink_media") / "media"
    make_media(folder, CLIPS)
    (folder / "long.opus").write_bytes((SAMPLES / "five minutes.opus").read_bytes())
    (folder / "noise.mp3").write_bytes(random.Random(1).randbytes(5_000))
    (folder / "empty.wav").touch()
    return folder


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "beam_pipeline", *FLAGS, *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run(*words: object, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, env=environment(), timeout=timeout)


def start(*words: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*words), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True,
                            env=environment())  # fmt: skip


def outcome(output: pathlib.Path) -> tuple[object, ...]:
    """Everything that must not depend on the runner."""
    told = {row["id"]: (row["code"], row["step"], row["message"]) for row in table(output, "dead_letters")}
    return transcripts(output), told, timeless(files(output))


@pytest.fixture(scope="module")
def direct(media, tmp_path_factory) -> pathlib.Path:
    """The output of the direct runner."""
    output = tmp_path_factory.mktemp("direct") / "out"
    done = run("--input", media, "--output", output)
    assert done.returncode == 3, done.stderr
    assert len(transcripts(output)) == CLIPS + 1
    assert letters(output) == {"noise.mp3": "not_media", "empty.wav": "empty_file"}
    return output


def until_committed(output: pathlib.Path, chunks: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 200
    while len(names(output, "_work/asr")) < chunks:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)


def test_worker_processes_give_what_threads_give(media, direct, tmp_path):
    done = run(
        "--input", media, "--output", tmp_path, "--direct_num_workers=2", "--direct_running_mode=multi_processing"
    )
    assert done.returncode == 3, done.stderr
    assert outcome(tmp_path) == outcome(direct)


def test_prism_gives_what_the_direct_runner_gives(media, direct, tmp_path):
    if not (program := prism()):
        pytest.skip("NOT TESTED on Prism: go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0")
    where = ["--runner=PrismRunner", f"--prism_location={program}", "--environment_type=LOOPBACK"]
    done = run("--input", media, "--output", tmp_path, *where)
    assert done.returncode == 3, done.stderr
    assert outcome(tmp_path) == outcome(direct)


def test_embedded_flink_gives_what_the_direct_runner_gives(media, direct, tmp_path):
    need_flink()
    done = run("--input", media, "--output", tmp_path, "--runner=FlinkRunner")
    assert done.returncode == 3, done.stderr
    assert outcome(tmp_path) == outcome(direct)


def test_a_cluster_that_loses_a_machine_gives_what_the_direct_runner_gives(media, direct, flink_cluster, tmp_path):
    """The same run on two TaskManagers, of which one is killed in mid-run and another started in its place."""
    process = start("--input", media, "--output", tmp_path, *flink_cluster.flags)
    until_committed(tmp_path, 3, process)
    flink_cluster.kill("taskmanager-1")
    committed = {path: path.stat().st_mtime_ns for path in (tmp_path / "_work/asr").rglob("*.json")}
    flink_cluster.up()
    said, log = process.communicate(timeout=400)
    assert process.returncode == 3, log
    assert f"{CLIPS + 1} transcripts, 2 dead letters" in said
    assert outcome(tmp_path) == outcome(direct)
    assert {path: path.stat().st_mtime_ns for path in committed} == committed  # nothing of it was done again


def test_a_job_that_is_left_to_the_cluster_ends_its_run_by_itself(media, direct, flink_cluster, tmp_path):
    uber = "--flink_submit_uber_jar"
    left = run("--input", media, "--output", tmp_path, *flink_cluster.flags, uber, "--no_wait")
    assert left.returncode == 0, left.stderr
    assert "left running as beam-pipeline-" in left.stdout
    refused = run("--input", media, "--output", tmp_path)
    assert refused.returncode == 1
    assert "goes on in its cluster without the process that started it" in refused.stderr
    assert state(tmp_path).startswith("running")
    no_slot = run("--input", media, "--output", tmp_path / "other", *flink_cluster.flags)
    assert (no_slot.returncode, "has 0 free slots of 2" in no_slot.stderr) == (1, True)
    until = time.monotonic() + 300
    while state(tmp_path).startswith("running"):
        assert time.monotonic() < until
        time.sleep(1)
    assert state(tmp_path).startswith("finished with exit code 3")
    assert outcome(tmp_path) == outcome(direct)


def state(output: pathlib.Path) -> str:
    status = [sys.executable, "-m", "beam_pipeline.status", "--output", str(output)]
    return subprocess.run(status, capture_output=True, text=True, env=environment(), check=True).stdout


def test_a_job_that_is_cancelled_in_the_cluster_fails_with_one_line_and_goes_on_later(media, flink_cluster, tmp_path):
    before = job_servers()
    process = start("--input", media, "--output", tmp_path, *flink_cluster.flags, "--job_name=to-be-cancelled")
    until_committed(tmp_path, 2, process)
    cluster = Cluster(flink_cluster.address)
    job = cluster.job_named("to-be-cancelled")
    assert job is not None
    cluster.cancel(job)
    _, log = process.communicate(timeout=100)
    assert process.returncode == 1
    assert f"the job was cancelled at {cluster.url}; the same command goes on where it was" in log
    assert "Traceback" not in log
    assert job_servers() == before
    ended(flink_cluster, "to-be-cancelled")


@pytest.mark.parametrize(("key", "state"), [("l", "left"), ("c", "cancelled")])
def test_ctrl_c_on_a_terminal_asks_what_to_do(media, flink_cluster, tmp_path, key, state):
    ours, theirs = os.openpty()
    words = command("--input", media, "--output", tmp_path, *flink_cluster.flags, f"--job_name=asked-{key}")
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment())
    os.close(theirs)
    said = read_until(ours, b"Flink job running")
    process.send_signal(signal.SIGINT)
    said = read_until(ours, b"[g]o on watching?")
    os.write(ours, f"{key}\n".encode())
    said = read_until(ours, b"left running as" if state == "left" else b"the Flink job was cancelled")
    assert process.wait(60) == (0 if state == "left" else 128 + signal.SIGINT), said
    os.close(ours)
    job = Cluster(flink_cluster.address).job_named(f"asked-{key}")
    assert job is not None
    assert job.state.startswith("CANCEL") == (state == "cancelled")
    Cluster(flink_cluster.address).cancel(job)
    ended(flink_cluster, job.name)


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What a program writes on its terminal, up to what is waited for."""
    said, until = b"", time.monotonic() + 120
    while wanted not in said:
        assert time.monotonic() < until, said
        said += os.read(terminal, 4096)
    return said


def job_servers() -> set[int]:
    """Beam's job servers that run here."""
    words = [(each.pid, each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
    return {pid for pid, command in words if "--artifacts-dir" in command}


def ended(flink_cluster, name: str) -> None:
    """Wait until the job's slots are free again."""
    until = time.monotonic() + 120
    while (job := Cluster(flink_cluster.address).job_named(name)) and not job.ended:
        assert time.monotonic() < until
        time.sleep(0.5)


def test_a_polite_kill_cancels_the_job(media, flink_cluster, tmp_path):
    process = start("--input", media, "--output", tmp_path, *flink_cluster.flags, "--job_name=to-be-stopped")
    until_committed(tmp_path, 1, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM
    job = Cluster(flink_cluster.address).job_named("to-be-stopped")
    assert job is not None
    assert job.state.startswith("CANCEL")
    ended(flink_cluster, job.name)
