"""The parts of running on Flink that can be wrong before a job is there: each is one line that says what to do."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import psutil
import pytest
from apache_beam.portability.api import (
    beam_fn_api_pb2,
    beam_fn_api_pb2_grpc,
    beam_provision_api_pb2,
    endpoints_pb2,
)
from google.protobuf import json_format, struct_pb2

from runners import versions
from runners.flink import parts
from runners.flink.cluster import free_port
from runners.flink.rest import Cluster, is_this_host
from runners.flink.worker import environment
from tests.conftest import ROOT
from tests.servers import QuietHandler, served

pytestmark = pytest.mark.long(40)

INPUT = ["--input", str(ROOT / "examples/media/letter.flac"), "--model", "demo"]


def executable(path: pathlib.Path, script: str) -> pathlib.Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a run that failed at once."""
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    return done.err.splitlines()[-1]


@contextlib.contextmanager
def answering(answers: dict[str, object]) -> Iterator[str]:
    """A server that gives these answers, as a JobManager would."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.removeprefix("/v1/"))
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/html" if isinstance(found, str) else "application/json")
            self.end_headers()
            self.wfile.write(found.encode() if isinstance(found, str) else json.dumps(found).encode())

    with served(Handler) as address:
        yield address


def flink(
    version: str = "1.19.3", free: int = 2, managers: int = 1, workers: str = "localhost:50000"
) -> dict[str, object]:
    """The answers of a cluster."""
    path = "pekko.tcp://flink@127.0.0.1:6122/user/rpc/taskmanager_0"
    return {
        "overview": {"flink-version": version, "slots-total": 2, "slots-available": free},
        "taskmanagers": {"taskmanagers": [{"path": path}] * managers},
        "jobmanager/config": [{"key": "beam-pipeline.workers", "value": workers}],
    }


def test_a_cluster_that_does_not_answer_is_named(cli, tmp_path):
    nowhere = f"127.0.0.1:{free_port(20000)}"
    done = cli(*INPUT, "--output", tmp_path, "--runner=FlinkRunner", f"--flink_master={nowhere}")
    assert f"error: no Flink cluster answers at http://{nowhere}" in said(done)
    assert "script/flink-up" in said(done)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"overview": "<html>a router</html>"}, "is no Flink cluster"),
        (flink(version="1.15.4"), "is Flink 1.15.4; Beam has a job server for 1.19, 1.20"),
        (flink(managers=0), "has no TaskManager: start one"),
        (flink(workers="localhost:1"), "no pool of Python workers answers at localhost:1, for the cluster"),
        (flink(free=0), "has 0 free slots of 2, and the job needs one: wait until other jobs end"),
    ],
    ids=["a website", "too old", "no TaskManager", "no workers", "no slots"],
)
def test_a_cluster_that_cannot_run_the_job_is_told_apart(cli, tmp_path, answers, message):
    with answering(answers) as address:
        done = cli(*INPUT, "--output", tmp_path, "--runner=FlinkRunner", f"--flink_master={address}")
        assert message in said(done)
        assert address in said(done)


def test_more_slots_than_there_are_is_an_error_and_not_a_wait(cli, tmp_path):
    with answering(flink()) as address:
        where = ["--runner=FlinkRunner", f"--flink_master={address}", "--parallelism=3"]
        assert "has 2 free slots of 2, and 3 are asked for" in said(cli(*INPUT, "--output", tmp_path, *where))


@pytest.mark.parametrize(
    ("java", "message"),
    [
        ("", "no Java on JAVA_HOME"),
        ("echo 'openjdk version \"1.8.0_402\"' >&2", "needs Java 11 to 21; set JAVA_HOME to one"),
        ("echo 'openjdk version \"25.0.1\"' >&2", "needs Java 11 to 21; set JAVA_HOME to one"),
    ],
    ids=["none", "too old", "too new"],
)
def test_java_is_looked_at_first(cli, tmp_path, java, message):
    (tmp_path / "java/bin").mkdir(parents=True)
    if java:
        executable(tmp_path / "java/bin/java", java)
    done = cli(*INPUT, "--output", tmp_path, "--runner=FlinkRunner", env={"JAVA_HOME": str(tmp_path / "java")})
    assert message in said(done)


def test_leaving_a_job_needs_a_cluster(cli, tmp_path):
    done = cli(*INPUT, "--output", tmp_path, "--no_wait")
    assert done.code == 2
    assert "--no_wait needs a place to leave the job to" in done.err


def test_a_port_that_is_taken_is_named_and_nothing_is_left(tmp_path):
    with contextlib.suppress(parts.FlinkError):
        parts.java()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["up", "--port", port, "--home", str(tmp_path / "home")]
        command = [sys.executable, "-m", "runners.flink.cluster", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 1
    if "no Java" in done.stderr or "cannot be" in done.stderr:
        pytest.skip(f"NOT TESTED: {done.stderr}")
    assert f"port {port} is taken: free it, or give another one with --port" in done.stderr


def test_versions_stand_in_one_place():
    assert parts.version("flink.release").startswith(parts.version("flink") + ".")
    assert Cluster("host:8081").url == Cluster("http://host:8081/").url == "http://host:8081"
    assert is_this_host("localhost")
    assert not is_this_host("192.0.2.1")


@pytest.fixture
def pool(tmp_path):
    """Starts pools of workers, and ends them."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> tuple[str, subprocess.Popen[bytes]]:
        port = free_port(50_100)
        command = [sys.executable, "-m", "runners.flink.workers", "--port", str(port), "--host", "127.0.0.1"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        process = subprocess.Popen(command, env=env, cwd=tmp_path, stderr=(tmp_path / "log").open("wb"))
        started.append(process)
        return f"127.0.0.1:{port}", process

    yield start
    for process in started:
        process.kill()
        process.wait()


def ask(address: str, **params: str) -> beam_fn_api_pb2.StartWorkerResponse:
    """Ask a pool for a worker, as Flink does."""
    with grpc.insecure_channel(address) as channel:
        service = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
        nobody = endpoints_pb2.ApiServiceDescriptor(url="192.0.2.1:1")
        request = beam_fn_api_pb2.StartWorkerRequest(worker_id="1-1", provision_endpoint=nobody, params=params)
        return service.StartWorker(request, timeout=60, wait_for_ready=True)


def until(true) -> None:
    by = time.monotonic() + 30
    while not true():
        assert time.monotonic() < by
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"apache-beam": "2.50.0"}, "apache-beam .* instead of 2.50.0"),
        ({"python": "3.8"}, "python 3.1. instead of 3.8"),
        ({"beam-pipeline": "99"}, "beam-pipeline .* instead of 99"),
    ],
)
def test_a_worker_of_other_versions_says_which(pool, params, message):
    import re

    address, process = pool()
    answer = ask(address, **{**versions.versions(), **params})
    assert re.search(f"WorkerError: this worker cannot run the job: it has {message}", answer.error)
    assert psutil.Process(process.pid).children() == []


def test_a_pool_without_ffmpeg_does_not_start(pool, tmp_path):
    """As where neither a program nor the package that ships one is there."""
    (tmp_path / "imageio_ffmpeg.py").touch()
    hidden = "import importlib.util as u, sys; find = u.find_spec\n"
    hidden += "u.find_spec = lambda name, *a: None if name == 'imageio_ffmpeg' else find(name, *a)\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    _, process = pool(PATH=str(tmp_path), PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert process.wait(60) == 1
    assert "error: there is no ffmpeg: install it, or `pip install imageio-ffmpeg`" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_pool_however_it_ends(pool, number):
    address, process = pool()
    assert ask(address, **versions.versions()).error == ""
    (worker,) = psutil.Process(process.pid).children()
    process.send_signal(number)
    process.wait(30)
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_a_pool_goes_on_when_a_worker_crashes(pool):
    address, process = pool()
    assert ask(address).error == ""
    (worker,) = psutil.Process(process.pid).children()
    worker.kill()
    until(lambda: psutil.Process(process.pid).children() == [])
    assert ask(address).error == ""
    assert len(psutil.Process(process.pid).children()) == 1


def test_a_worker_that_prints_does_not_stand_still(tmp_path):
    """Beam's own pool gives it a pipe that nobody reads, which takes 64 KiB."""
    modules = tmp_path / "modules"  # what lies in the current folder is no worker's
    modules.mkdir()
    (modules / "loud.py").write_text(
        "import pathlib\nprint('x' * (1 << 20), flush=True)\npathlib.Path(__file__).with_name('went on').touch()\n"
    )
    port = free_port(50_200)
    code = f"from runners.flink import workers\nworkers.main(workers.Pool(('loud',)), ['--port', '{port}'])"
    env = {**os.environ, "PYTHONPATH": f"{modules}:{ROOT}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", code], env=env, cwd=tmp_path, stdout=log, stderr=log)
    try:
        assert ask(f"localhost:{port}").error == ""
        until((modules / "went on").exists)
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "log").stat().st_size > 1 << 20


def test_the_options_of_a_job_reach_its_workers():
    options = json_format.ParseDict({"beam:option:job_name:v1": "a-job"}, struct_pb2.Struct())
    where = endpoints_pb2.ApiServiceDescriptor(url="localhost:1")
    told = beam_provision_api_pb2.ProvisionInfo(
        pipeline_options=options, control_endpoint=where, runner_capabilities=["a", "b"]
    )
    found = environment(told, "1-1")
    assert json.loads(found["PIPELINE_OPTIONS"]) == {"beam:option:job_name:v1": "a-job"}
    assert found["CONTROL_API_SERVICE_DESCRIPTOR"].strip() == 'url: "localhost:1"'
    assert (found["WORKER_ID"], found["RUNNER_CAPABILITIES"]) == ("1-1", "a b")
