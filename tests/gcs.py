"""A server on loopback that speaks Google Cloud Storage's protocol and honours its preconditions: fake-gcs-server."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator

import pytest

from tests.servers import free_port, running
from transforms.storage import Store, Stores

PACKAGE = "github.com/fsouza/fake-gcs-server@v1.56.1"


def program() -> str | None:
    """The server's program, from $PATH or from where `go install` puts it."""
    go = shutil.which("go")
    places = [os.environ.get("PATH", "")]
    if go:
        where = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True).stdout.strip()
        places.append(str(pathlib.Path(where, "bin")))
    return shutil.which("fake-gcs-server", path=os.pathsep.join(places))


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory) -> Iterator[str]:
    """The address of a running server."""
    if (found := program()) is None:
        pytest.skip(f"NOT TESTED: no fake-gcs-server: go install {PACKAGE}")
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [found, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    log = tmp_path_factory.mktemp("gcs") / "log"
    with running([*command, "-public-host", address], f"http://{address}/_internal/healthcheck", log):
        yield f"http://{address}"


@pytest.fixture
def gcs_place(gcs_server, monkeypatch) -> tuple[Store, str]:
    """A store, and a place in a bucket that is empty."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    base = f"gs://{new_bucket(gcs_server)}/base"
    return Stores().serving(base), base


def new_bucket(server: str) -> str:
    name = f"media-{uuid.uuid4().hex[:12]}"
    data, headers = json.dumps({"name": name}).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server}/storage/v1/b?project=test", data, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    return name
