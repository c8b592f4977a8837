"""A stand-in for the Dataflow service: it takes jobs as Beam submits them, and runs the staged graph here.

It speaks the REST protocol that Google's client uses, and gets the graph from the bucket that Beam staged it to. What
it cannot show is what only Google has: machines, GPUs, images, autoscaling.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.conftest import ROOT

JOBS = re.compile(
    r"/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs(/(?P<id>[^/?]+))?(/(?P<part>\w+))?"
)
RUN = """
import json, logging, sys, time
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.portability import python_urns
from runners.direct import direct_runner
from transforms.storage import Stores

graph = beam_runner_api_pb2.Pipeline.FromString(Stores().serving(sys.argv[1]).read(sys.argv[1]))
for environment in graph.components.environments.values():
    environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
    environment.ClearField("dependencies")
given = json.loads(sys.argv[2])
options = PipelineOptions.from_dictionary(given)
result = direct_runner(options).run_via_runner_api(graph, options)
result.wait_until_finish()
counters = result.metrics().query()["counters"]
print(json.dumps([[each.key.metric.namespace, each.key.metric.name, each.result] for each in counters]))
"""


class DataflowStub:
    """Jobs by id, as the service tells of them."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.runs = True  # whether a job is started; else it stays queued
        self.denied = ""  # what each request is refused with
        self._processes: dict[str, subprocess.Popen] = {}
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                status, content = stub._answer(self.command, self.path, json.loads(self.rfile.read(length) or "{}"))
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self._server.shutdown()
        self._server.server_close()

    def ended(self, job_id: str, within_s: float = 120) -> str:
        """The state in which a job ended."""
        until = time.monotonic() + within_s
        while self._state(job_id) in ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING") and time.monotonic() < until:
            time.sleep(0.1)
        return self._state(job_id)

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        found = JOBS.match(path)
        if self.denied:
            return 403, {"error": {"code": 403, "message": self.denied, "status": "PERMISSION_DENIED"}}
        if not found:
            return 404, {"error": {"code": 404, "message": path, "status": "NOT_FOUND"}}
        job_id, part = found["id"], found["part"]
        if method == "POST":
            return 200, self._create(body)
        if job_id is None:
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(path).query))
            return 200, {"jobs": self._listed(query)}
        if method == "PUT" and body.get("requestedState") in (5, "JOB_STATE_CANCELLED"):
            if process := self._processes.get(job_id):
                process.kill()
            self.jobs[job_id]["currentState"] = "JOB_STATE_CANCELLED"
        self._state(job_id)
        told = {"messages": self._messages(job_id), "metrics": self._metrics(job_id)}
        return 200, told[part] if part else self.jobs[job_id]

    def _create(self, job: dict[str, Any]) -> dict[str, Any]:
        job_id = f"2026-{len(self.jobs)}"
        self.jobs[job_id] = {**job, "id": job_id, "currentState": "JOB_STATE_QUEUED"}
        if self.runs:
            self.start(job_id)
        return self.jobs[job_id]

    def launch(self, staged: dict[str, Any]) -> str:
        """Start what the launcher of a flex template has staged; gives the id of its job."""
        job_id = self._create(staged)["id"]
        if not self.runs:
            self.start(job_id)
        return job_id

    def start(self, job_id: str) -> None:
        """Run a job's graph in a process of its own."""
        given = self.jobs[job_id]["environment"]["sdkPipelineOptions"]["options"]
        whole = {name: int(value) if isinstance(value, float) else value for name, value in given.items()}
        command = [sys.executable, "-c", RUN, given["pipelineUrl"], json.dumps(whole)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self._processes[job_id] = subprocess.Popen(command, env=environment, **pipes)
        self.jobs[job_id]["currentState"] = "JOB_STATE_RUNNING"

    def _state(self, job_id: str) -> str:
        job, process = self.jobs[job_id], self._processes.get(job_id)
        if process and job["currentState"] == "JOB_STATE_RUNNING" and process.poll() is not None:
            job["said"], job["error"] = process.communicate()
            job["currentState"] = "JOB_STATE_FAILED" if process.returncode else "JOB_STATE_DONE"
        return job["currentState"]

    def _listed(self, query: dict[str, str]) -> list[dict[str, Any]]:
        active = ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING")
        alive = query.get("filter") not in ("ACTIVE", "3")
        return [
            job
            for job_id, job in self.jobs.items()
            if job["name"] == query.get("name", job["name"]) and (alive or self._state(job_id) in active)
        ]

    def _messages(self, job_id: str) -> dict[str, Any]:
        error = self.jobs[job_id].get("error", "") if self._state(job_id) == "JOB_STATE_FAILED" else ""
        return {"jobMessages": [{"messageText": error, "messageImportance": "JOB_MESSAGE_ERROR"}] if error else []}

    def _metrics(self, job_id: str) -> dict[str, Any]:
        said = self.jobs[job_id].get("said", "")
        counters = json.loads(said.splitlines()[-1]) if said else []
        return {
            "metrics": [
                {
                    "name": {"origin": "user", "name": name, "context": {"namespace": space, "step": "s1", **also}},
                    "scalar": value,
                }
                for space, name, value in counters
                for also in ({}, {"tentative": "true"})
            ]
        }


class Tokens(http.server.BaseHTTPRequestHandler):
    """Gives a token to whoever asks."""

    def do_POST(self) -> None:
        data = json.dumps({"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def google_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service account's key file, good on loopback alone. Without any, Beam asks in vain for half a minute."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "a-project",
        "private_key": private.decode(),
        "client_email": "worker@a-project",
        "token_uri": f"http://127.0.0.1:{server.server_port}/token",
    }
    path = tmp_path_factory.mktemp("google") / "key.json"
    path.write_text(json.dumps(account))
    yield str(path)
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def dataflow_stub() -> Iterator[DataflowStub]:
    stub = DataflowStub()
    try:
        yield stub
    finally:
        stub.stop()


@pytest.fixture
def dataflow_service() -> Iterator[DataflowStub]:
    """A running stand-in without jobs."""
    with dataflow_stub() as stub:
        yield stub
