"""Stores on a bad day: what passes is made good unseen, what stays is an error, and no part passes for the whole."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.proxy import FAULTS, FaultProxy
from transforms.storage import ChangedError, StorageError, Stores, join
from transforms.storage.profiles import S3Profile

pytestmark = pytest.mark.long(70)

TIMEOUT_S = 1.0
# longer than all attempts with all pauses: what takes longer hangs
PATIENCE_S = 45
CONTENT = os.urandom(300_000)
REFUSALS = ("expired", "denied", "unauthorized")
PASSING = [fault for fault in FAULTS if fault not in REFUSALS]
READS = ["read", "read_range", "stat", "list"]


@pytest.fixture(params=["moto", "gcs"])
def behind(request, monkeypatch):
    """A proxy before a store, the store seen through it, and an empty place in it."""
    if request.param == "gcs":
        with through_gcs(request, monkeypatch) as everything:
            yield everything
        return
    server = request.getfixturevalue(request.param)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with FaultProxy(server.endpoint) as proxy:
        base = f"s3://{server.name}@{server.new_bucket()}"
        seen = S3Profile(server.name, proxy.url, timeout_s=TIMEOUT_S)
        yield proxy, Stores((seen,)).serving(base), base


@contextlib.contextmanager
def through_gcs(request, monkeypatch):
    from transforms.storage import gcs

    for name in ("TIMEOUT_S", "SEND_TIMEOUT_S"):
        monkeypatch.setattr(gcs, name, TIMEOUT_S)
    for name in ("PATIENCE_S", "SEND_PATIENCE_S"):
        monkeypatch.setattr(gcs, name, 6.0)
    store, base = request.getfixturevalue("gcs_place")
    with FaultProxy(request.getfixturevalue("gcs_server"), keep_host=False) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy, store, base


def reads(store, base):
    """Every way to ask for something that is there."""
    there = join(base, "there.bin")
    version = store.stat(there).version
    return {
        "read": lambda: store.read(there),
        "read_range": lambda: store.read_range(there, 1000, 200_000, version),
        "stat": lambda: store.stat(there),
        "list": lambda: list(store.list(base)),
    }


def writes(store, base, file):
    """Every way to change something."""
    file.write_bytes(CONTENT)
    return {
        "put": lambda: store.put(join(base, "put.bin"), CONTENT),
        "put_new": lambda: store.put_new(join(base, "new.bin"), CONTENT),
        "put_file": lambda: store.put_file(join(base, "file.bin"), file),
        "delete": lambda: store.delete(join(base, "there.bin")),
    }


def outcome(work):
    try:
        return work()
    except OSError as error:
        return error


def all_at_once(works):
    """What each gives, or the OSError that it raises."""
    started = time.monotonic()
    with ThreadPoolExecutor(len(works)) as pool:
        done = dict(zip(works, pool.map(outcome, works.values()), strict=True))
    assert time.monotonic() - started < PATIENCE_S
    return done


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_not_seen(behind, tmp_path, fault):
    proxy, store, base = behind
    store.put(join(base, "there.bin"), CONTENT)
    asking, writing, entry = (
        reads(store, base),
        writes(store, base, tmp_path / "f"),
        store.stat(join(base, "there.bin")),
    )
    proxy.asked.clear()
    proxy.choose = lambda method, path, number: fault if number < (4 if method == "POST" else 2) else ""
    assert all_at_once(asking) == {
        "read": CONTENT,
        "read_range": CONTENT[1000:201_000],
        "stat": entry,
        "list": [entry],
    }
    assert proxy.faults[fault] >= len(asking)
    assert all_at_once(writing) == {"put": None, "put_new": True, "put_file": None, "delete": None}
    proxy.choose = lambda *_: ""
    assert {entry.uri.rsplit("/", 1)[1]: store.read(entry.uri) for entry in store.list(base)} == dict.fromkeys(
        ("file.bin", "new.bin", "put.bin"), CONTENT
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_an_error_and_never_a_part(behind, fault):
    proxy, store, base = behind
    if fault == "expired" and base.startswith("gs:"):
        pytest.skip("an answer of S3's; Google's is `unauthorized`")
    store.put(join(base, "there.bin"), CONTENT)
    asking = reads(store, base)
    if fault in ("short", "hang", "less", "more"):
        del asking["stat"]  # whose answer has no body, or one that is small
    proxy.choose = lambda *_: fault
    for name, error in all_at_once(asking).items():
        assert isinstance(error, PermissionError if fault in REFUSALS else StorageError), (name, error)
        assert not isinstance(error, ChangedError), (name, error)
        assert "secret" not in str(error)
        assert "Signature" not in str(error)


@pytest.mark.parametrize("fault", ["500", "503", "reset", "stall"])
def test_a_put_that_never_succeeds_leaves_no_part(behind, tmp_path, fault):
    proxy, store, base = behind
    works = writes(store, base, tmp_path / "f")
    del works["delete"]
    proxy.choose = lambda *_: fault
    assert {type(error) for error in all_at_once(works).values()} == {StorageError}
    proxy.choose = lambda *_: ""
    assert list(store.list(base)) == []
