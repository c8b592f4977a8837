"""Servers that speak S3 on loopback: moto, and a real store, Ceph.

Ceph runs with one monitor, one OSD that keeps its objects in memory, and its gateway. Unlike moto it checks
signatures. It is up in a few seconds and goes with the tests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.servers import free_port
from transforms.storage import Store, Stores
from transforms.storage.profiles import S3Profile

PROGRAMS = ("ceph", "ceph-authtool", "monmaptool", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin")
SECONDS = 90  # it may take on a busy machine
CONFIG = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{monitor}
keyring = {home}/keyring
run dir = {home}
admin socket =
log file = {home}/$name.log
mon data = {home}/mon
osd data = {home}/osd
rgw data = {home}/rgw
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
paxos propose interval = 0.05
paxos min wait = 0.01
ms bind ipv6 = false
rgw frontends = beast endpoint=127.0.0.1:{gateway}
"""


@dataclasses.dataclass(frozen=True)
class S3Server:
    """A store that speaks S3 and who may use it, as the profile of its name."""

    name: str
    endpoint: str
    key_id: str = "tester"
    secret: str = "a-secret-of-the-tests"

    @property
    def profile(self) -> S3Profile:
        return S3Profile(self.name, self.endpoint)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make the profile known to the program and to the stores."""
        settings = {"ENDPOINT": self.endpoint, "ACCESS_KEY_ID": self.key_id, "SECRET_ACCESS_KEY": self.secret}
        return {self.profile.variable(name): value for name, value in settings.items()}

    def client(self) -> Any:
        """boto3's own client, to look behind the store that is tested."""
        keys = {"aws_access_key_id": self.key_id, "aws_secret_access_key": self.secret, "region_name": "us-east-1"}
        config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
        return boto3.client("s3", endpoint_url=self.endpoint, config=config, **keys)

    def new_bucket(self) -> str:
        name = f"tests-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name


@pytest.fixture(scope="session")
def ceph(tmp_path_factory) -> Iterator[S3Server]:
    """A running Ceph with one user."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        pytest.skip(f"NOT TESTED: no {', '.join(missing)}: apt install ceph-mon ceph-osd radosgw")
    home = tmp_path_factory.mktemp("ceph")
    with running_ceph(home) as server:
        yield server


@contextlib.contextmanager
def running_ceph(home: pathlib.Path) -> Iterator[S3Server]:
    server = S3Server("ceph", f"http://127.0.0.1:{free_port()}")
    fsid, monitor, gateway = uuid.uuid4(), free_port(), server.endpoint.rpartition(":")[2]
    (home / "ceph.conf").write_text(CONFIG.format(fsid=fsid, home=home, monitor=monitor, gateway=gateway))
    (home / "osd").mkdir()
    environment = {**os.environ, "CEPH_CONF": str(home / "ceph.conf")}

    def run(*command: object) -> None:
        done = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"

    with contextlib.ExitStack() as stack:

        def start(program: str, *flags: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((home / f"{program}.out").open("w"))
            daemon = subprocess.Popen([program, "-f", *flags], env=environment, stdout=log, stderr=log)
            stack.callback(daemon.wait)
            stack.callback(daemon.kill)  # there is nothing to save
            return daemon

        keyring = home / "keyring"
        keys = {"mon.": "allow *", "client.admin": "allow *", "osd.0": "allow profile osd"}
        for user, rights in keys.items():
            create = [] if keyring.exists() else ["--create-keyring"]
            run(
                "ceph-authtool",
                *create,
                keyring,
                "--gen-key",
                "-n",
                user,
                "--cap",
                "mon",
                rights,
                "--cap",
                "osd",
                "allow *",
            )
        run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor}]", home / "monmap")
        run("ceph-mon", "--mkfs", "-i", "a", "--monmap", home / "monmap", "--keyring", keyring)
        start("ceph-mon", "-i", "a")
        disk = uuid.uuid4()
        run("ceph", "osd", "new", disk)
        run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", disk)
        start("ceph-osd", "-i", "0")
        daemon = start("radosgw", "-n", "client.admin")
        wait_for_port(int(gateway), daemon, home)
        user = ["--uid", "tester", "--display-name", "tester"]
        run("radosgw-admin", "user", "create", *user, "--access-key", server.key_id, "--secret-key", server.secret)
        yield server


def wait_for_port(port: int, server: subprocess.Popen[bytes], home: pathlib.Path) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        assert server.poll() is None, f"the server ended before it listened: its logs are in {home}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(port)


@pytest.fixture(scope="session")
def moto():
    """A server that speaks S3 and lets everybody in."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server("moto", f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def moto_place(moto, monkeypatch):
    """A store, and an empty bucket in it; the environment has the settings and the keys."""
    return s3_place(moto, monkeypatch)


@pytest.fixture
def ceph_place(ceph, monkeypatch):
    """Like `moto_place`, in a store that checks signatures."""
    return s3_place(ceph, monkeypatch)


def s3_place(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, str]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    base = f"s3://{server.name}@{server.new_bucket()}"
    return Stores((server.profile,)).serving(base), base
