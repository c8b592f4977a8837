"""What is particular to Google Cloud Storage; what every store must do is in test_stores.py."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import http.client
import http.server
import json
import multiprocessing
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.cloud.storage import Client

from tests.conftest import ROOT
from tests.gcs import new_bucket
from tests.servers import free_port
from transforms.storage import ChangedError, Entry, StorageError, Stores, gcs, join
from transforms.storage.gcs import GcsStore

STORE = GcsStore()


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


Fault = Callable[
    [str, Callable[[], Answer]], Answer | None
]  # (method and path, ask the server) → answer, None: cut off


def say(status: int, message: str = "") -> Fault:
    """The server is not asked."""
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    return lambda request, ask: Answer(status, {"Content-Type": "application/json"}, body)


def lose(request: str, ask: Callable[[], Answer]) -> None:
    """The server does it, and its answer gets lost."""
    ask()


OF_A_CONNECTION = {"Connection", "Content-Length", "Date", "Server", "Transfer-Encoding"}


class Faulty:
    """Stands between the store and the server. A request takes the next fault that is due, or passes."""

    def __init__(self, server: str) -> None:
        self.server, self.due, self.seen = server, list[Fault](), list[str]()
        faulty = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                faulty._handle(self)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # connections that the store gave up
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Faulty:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handle(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        name = f"{handler.command} {handler.path}"
        self.seen.append(name)
        fault = self.due.pop(0) if self.due else lambda request, ask: ask()
        answer = fault(name, lambda: self._ask(handler, body))
        if answer is None:
            handler.close_connection = True
            return
        handler.send_response(answer.status)
        for key, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            handler.send_header(key, value)
        handler.end_headers()
        handler.wfile.write(answer.body)
        handler.close_connection = "Content-Length" in answer.headers  # it may be wrong

    def _ask(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> Answer:
        host = self.server.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=20)
        with contextlib.closing(connection):
            connection.request(handler.command, handler.path, body, {**handler.headers, "Host": host})
            found = connection.getresponse()
            kept = {key: value for key, value in found.getheaders() if key not in OF_A_CONNECTION}
            if "Location" in kept:  # of an upload
                kept["Location"] = kept["Location"].replace(self.server, self.url)
            return Answer(found.status, kept, found.read())


@pytest.fixture
def faulty(gcs_place, gcs_server, monkeypatch) -> Iterator[Faulty]:
    with Faulty(gcs_server) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        monkeypatch.setattr(gcs, "FIRST_PAUSE_S", 0.05)
        yield proxy


@pytest.fixture
def impatient(monkeypatch):
    for name in ("PATIENCE_S", "SEND_PATIENCE_S"):
        monkeypatch.setattr(gcs, name, 0.3)


@pytest.fixture
def base(gcs_place) -> str:
    return gcs_place[1]


def test_the_scheme_is_served():
    assert isinstance(Stores().serving("gs://bucket/a"), GcsStore)


@pytest.mark.parametrize(
    ("uri", "spelling"),
    [
        ("gs://bkt", "gs://bkt"),
        ("gs://bkt/", "gs://bkt"),
        ("gs://bkt/a b/%20?#/", "gs://bkt/a b/%20?#"),
        ("gs://bkt/a//b", "gs://bkt/a//b"),
        ("gs://user:word@bkt/a@b", "gs://bkt/a@b"),
    ],
)
def test_one_place_has_one_spelling(uri, spelling):
    assert STORE.canonical(uri) == STORE.canonical(spelling) == spelling


@pytest.mark.parametrize("uri", ["gs://", "gs:///key", "gs://word@bucket/a", "gs://Bucket/a", "gs://a b/c"])
def test_what_names_no_bucket_says_so_without_asking_anybody(uri):
    with pytest.raises(StorageError, match="gs://bucket/key") as error:
        STORE.stat(uri)
    assert "word" not in str(error.value)


@pytest.mark.parametrize("key", ["a" * 1025, "\udcff"])
def test_a_key_that_cannot_be_is_an_error_of_the_protocol(key):
    with pytest.raises(StorageError, match="key"):
        STORE.stat(f"gs://bucket/{key}")


def test_a_long_listing_comes_page_by_page(faulty, base):
    names = [f"{number:04d}.txt" for number in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: STORE.put(join(base, name), b""), names))
    faulty.seen.clear()
    assert [entry.uri for entry in STORE.list(base)] == [join(base, name) for name in names]
    assert len(faulty.seen) == 2


def test_folders_that_a_console_made_are_no_objects(base, gcs_server):
    bucket = Client().bucket(base.split("/")[2])
    bucket.blob("base/folder/").upload_from_string(b"")
    STORE.put(join(base, "folder", "a"), b"a")
    assert [entry.uri for entry in STORE.list(base)] == [join(base, "folder", "a")]
    assert STORE.stat(join(base, "folder")) is None
    assert STORE.is_folder(join(base, "folder"))


def test_a_bucket_is_a_folder_though_it_is_empty(gcs_place, gcs_server):
    bucket = f"gs://{new_bucket(gcs_server)}"
    assert STORE.is_folder(bucket)
    assert (STORE.stat(bucket), list(STORE.list(bucket))) == (None, [])


def test_the_library_asks_for_nothing_that_the_store_did_not_ask_for(faulty, base):
    STORE.put(join(base, "a"), b"content")
    STORE.read(join(base, "a"))
    assert [request.split()[0] for request in faulty.seen] == ["POST", "GET"]


def use_local_file(path: pathlib.Path) -> pathlib.Path:
    path.write_bytes(b"content")
    return path


MISSING_BUCKET = {
    "list": lambda uri, path: list(STORE.list(uri)),
    "glob": lambda uri, path: list(STORE.glob(f"{uri}*")),
    "is_folder": lambda uri, path: STORE.is_folder(uri),
    "read": lambda uri, path: STORE.read(uri),
    "read_range": lambda uri, path: STORE.read_range(uri, 0, 1, "1"),
    "put": lambda uri, path: STORE.put(uri, b"content"),
    "put_new": lambda uri, path: STORE.put_new(uri, b"content"),
    "put_file": lambda uri, path: STORE.put_file(uri, path),
    "delete": lambda uri, path: STORE.delete(uri),
}


@pytest.mark.parametrize("name", MISSING_BUCKET)
def test_a_bucket_that_is_not_there_is_named(gcs_place, tmp_path, name):
    with pytest.raises(StorageError, match="there is no bucket no-such-bucket: create it"):
        MISSING_BUCKET[name]("gs://no-such-bucket/a", use_local_file(tmp_path / "from"))


def test_an_object_says_what_it_is_to_a_browser(base, tmp_path):
    STORE.put(join(base, "report.html"), b"<html>")
    STORE.put_file(join(base, "a.vtt"), use_local_file(tmp_path / "x.tmp"))
    STORE.put(join(base, "unknown"), b"")
    kinds = {blob.name: blob.content_type for blob in Client().list_blobs(base.split("/")[2])}
    assert kinds == {
        "base/report.html": "text/html",
        "base/a.vtt": "text/vtt",
        "base/unknown": "application/octet-stream",
    }


def test_an_object_that_is_stored_compressed_has_the_bytes_of_its_listing_in_ranges(base):
    text, blob = b"path\na.wav\n" * 100, Client().bucket(base.split("/")[2]).blob("base/list.csv")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(text))
    entry = STORE.stat(join(base, "list.csv"))
    assert STORE.read_range(entry.uri, 0, entry.size_bytes, entry.version) == gzip.compress(text)
    assert STORE.read(entry.uri) == text  # as Google's tools give it


ONCE = {
    "stat": lambda uri, path: STORE.stat(uri).size_bytes == 7,
    "list": lambda uri, path: len(list(STORE.list(uri.rpartition("/")[0]))) == 1,
    "is_folder": lambda uri, path: STORE.is_folder(uri.rpartition("/")[0]),
    "read": lambda uri, path: STORE.read(uri) == b"content",
    "read_range": lambda uri, path: STORE.read_range(uri, 1, 3, STORE.stat(uri).version) == b"ont",
    "put": lambda uri, path: STORE.put(uri, b"content") is None,
    "put_file": lambda uri, path: STORE.put_file(uri, path) is None,
    "delete": lambda uri, path: STORE.delete(uri) is None,
}


@pytest.mark.parametrize("fault", [say(503), say(429), lose], ids=["503", "429", "lost"])
@pytest.mark.parametrize("name", ONCE)
def test_a_fault_that_passes_is_not_noticed(faulty, base, tmp_path, name, fault):
    uri = join(base, "a")
    STORE.put(uri, b"content")
    faulty.due += [fault]
    assert ONCE[name](uri, use_local_file(tmp_path / "from"))
    assert not faulty.due
    assert STORE.stat(uri) is None if name == "delete" else STORE.read(uri) == b"content"


@pytest.mark.parametrize("name", ONCE)
def test_a_fault_that_stays_ends_soon_and_says_what_to_do(faulty, impatient, base, tmp_path, name):
    STORE.put(join(base, "a"), b"content")
    faulty.due += [say(503, "backend error")] * 100
    with pytest.raises(StorageError, match="503: backend error"):
        ONCE[name](join(base, "a"), use_local_file(tmp_path / "from"))


@pytest.mark.parametrize("name", ONCE)
def test_a_store_that_never_answers_does_not_hang(impatient, monkeypatch, tmp_path, name):
    for limit in ("TIMEOUT_S", "SEND_TIMEOUT_S"):
        monkeypatch.setattr(gcs, limit, 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}")
        before = time.monotonic()
        with pytest.raises(StorageError, match="cannot be reached"):
            ONCE[name]("gs://bucket/base/a", use_local_file(tmp_path / "from"))
    assert time.monotonic() - before < 5


def test_a_store_that_is_not_there_is_named(impatient, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:\d+ cannot be reached \(ConnectionError\): check"):
        STORE.read("gs://bucket/a")


def cut(request: str, ask: Callable[[], Answer]) -> Answer:
    """The connection ends inside the body."""
    answer = ask()
    return dataclasses.replace(
        answer, body=answer.body[:5], headers={**answer.headers, "Content-Length": str(len(answer.body))}
    )


def shorten(request: str, ask: Callable[[], Answer]) -> Answer:
    """A body that is too short, from a server that says it is right."""
    answer = ask()
    return dataclasses.replace(answer, body=answer.body[:5])


def spoil(request: str, ask: Callable[[], Answer]) -> Answer:
    answer = ask()
    return dataclasses.replace(answer, body=b"?" + answer.body[1:])


@pytest.mark.parametrize("fault", [cut, shorten, spoil])
def test_what_is_read_is_what_was_put(faulty, base, fault):
    STORE.put(join(base, "a"), b"0123456789")
    faulty.due += [fault]
    assert STORE.read(join(base, "a")) == b"0123456789"


@pytest.mark.parametrize("fault", [cut, shorten])
def test_a_range_has_all_its_bytes(faulty, base, fault):
    STORE.put(join(base, "a"), b"0123456789")
    version = STORE.stat(join(base, "a")).version
    faulty.due += [fault]
    assert STORE.read_range(join(base, "a"), 1, 8, version) == b"12345678"


def test_a_range_that_stays_too_short_is_an_error(faulty, impatient, base):
    STORE.put(join(base, "a"), b"0123456789")
    version = STORE.stat(join(base, "a")).version
    passes: Fault = lambda request, ask: ask()  # noqa: E731 - the question how long it is
    faulty.due += [shorten, passes] * 50
    with pytest.raises(StorageError, match="cannot be reached") as error:
        STORE.read_range(join(base, "a"), 1, 8, version)
    assert not isinstance(error.value, ChangedError)


def test_what_stays_spoiled_is_an_error(faulty, impatient, base):
    STORE.put(join(base, "a"), b"0123456789")
    faulty.due += [spoil] * 50
    with pytest.raises(StorageError, match="by its checksum"):
        STORE.read(join(base, "a"))


def test_an_error_without_reasons_or_with_a_part_of_them_is_an_error(faulty, impatient, base):
    for body in (b"", b"<html>", b'{"error": "a word"}', b'{"error": {"message": null}}', b"[]"):
        faulty.due += [lambda request, ask, body=body: Answer(400, {}, body)]
        with pytest.raises(StorageError, match=r"400: (Bad Request|None)"):
            STORE.put(join(base, "a"), b"content")
    faulty.due += [lambda request, ask: Answer(400, {"Content-Length": "9"}, b'{"err')]
    with pytest.raises(FileNotFoundError):  # what was cut short is asked for again
        STORE.read(join(base, "a"))


def test_the_store_is_asked_for_the_version_that_was_listed(faulty, base):
    STORE.put(join(base, "a"), b"0123456789")
    version = STORE.stat(join(base, "a")).version
    STORE.read_range(join(base, "a"), 1, 8, version)
    assert f"ifGenerationMatch={version}" in faulty.seen[-1]
    faulty.due += [say(412, "conditionNotMet")]  # as Google answers; fake-gcs-server sends the other version
    with pytest.raises(ChangedError, match="run again"):
        STORE.read_range(join(base, "a"), 1, 8, version)


def test_who_put_a_new_object_and_lost_the_answer_knows_it(faulty, base):
    faulty.due += [lose]
    assert STORE.put_new(join(base, "a"), b"mine") is True
    assert STORE.put_new(join(base, "a"), b"mine") is False  # not tried twice: it was there before


def test_who_tried_again_while_another_put_the_object_did_not_put_it(faulty, base):
    def other(request: str, ask: Callable[[], Answer]) -> Answer:
        STORE.put(join(base, "a"), b"theirs")
        return say(503)(request, ask)

    faulty.due += [other]
    assert STORE.put_new(join(base, "a"), b"mine") is False
    assert STORE.read(join(base, "a")) == b"theirs"


def test_a_large_new_object_is_put_once(base):
    data = os.urandom(9 << 20)  # more than Google's library sends in one request
    assert [STORE.put_new(join(base, "a"), data), STORE.put_new(join(base, "a"), b"")] == [True, False]
    assert STORE.read(join(base, "a")) == data


def keep_a_part(request: str, ask: Callable[[], Answer]) -> Answer:
    """Google may keep the beginning of a chunk only."""
    return Answer(308, {"Range": f"bytes=0-{(256 << 10) - 1}"}, b"")


PASS: Fault = lambda request, ask: ask()  # noqa: E731


@pytest.mark.parametrize(
    "fault", [say(503), say(410), say(404), keep_a_part, lose], ids=["503", "410", "404", "part", "lost"]
)
@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_a_large_file_arrives_whole_whatever_happens_to_a_chunk(faulty, base, tmp_path, fault, chunk):
    path = tmp_path / "large"
    path.write_bytes(os.urandom(20_000_000))
    STORE.put(join(base, "a"), b"before")
    faulty.due += [PASS, *[PASS] * chunk, fault]  # the first request begins the upload
    STORE.put_file(join(base, "a"), path)
    assert sum(request.startswith("PUT") for request in faulty.seen) > 3
    assert STORE.read(join(base, "a")) == path.read_bytes()


def test_no_message_holds_the_address_of_an_upload(faulty, impatient, base, tmp_path):
    path = tmp_path / "large"
    path.write_bytes(bytes(9 << 20))
    for fault in (say(400, "invalid"), say(503, "down"), lose):
        faulty.due += [PASS, *[fault] * 50]
        with pytest.raises(StorageError) as error:
            STORE.put_file(join(base, "a"), path)
        faulty.due.clear()
        assert any("upload_id" in request for request in faulty.seen)
        assert "upload_id" not in "".join(traceback.format_exception(error.value))


def test_a_refusal_says_who_may_not_do_what(faulty, base):
    faulty.due += [say(403, "x@y does not have storage.objects.get access")]
    faulty.due += [
        lambda request, ask: Answer(403, {}, b"x@y does not have storage.objects.get access")
    ]  # as it does
    for _ in range(2):
        with pytest.raises(PermissionError, match=r"does not have storage\.objects\.get access: give the account"):
            STORE.read(join(base, "a"))


def test_credentials_that_have_ended_are_told_from_a_network_that_fails(faulty, base):
    faulty.due += [say(401, "Invalid Credentials")]
    with pytest.raises(PermissionError, match="gcloud auth application-default login"):
        STORE.read(join(base, "a"))


def test_who_may_read_but_not_list_is_told_that_an_object_is_missing(faulty, base):
    faulty.due += [PASS, say(403, "may not list")]
    with pytest.raises(FileNotFoundError, match="gone"):
        STORE.read(join(base, "gone"))


def test_a_fork_has_connections_of_its_own(base):
    STORE.put(join(base, "a"), b"content")

    def read() -> None:
        sys.exit(0 if STORE.read(join(base, "a")) == b"content" else 1)

    children = [multiprocessing.get_context("fork").Process(target=read) for _ in range(2)]
    for child in children:
        child.start()
    assert STORE.read(join(base, "a")) == b"content"
    for child in children:
        child.join(30)
        assert child.exitcode == 0


def test_threads_share_a_client(base):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: STORE.put(join(base, str(number)), b"%d" % number), range(64)))
        read = list(pool.map(lambda number: STORE.read(join(base, str(number))), range(64)))
    assert read == [b"%d" % number for number in range(64)]


def test_what_is_gone_when_it_is_decoded_says_so(base):
    with STORE.open_media(Entry(join(base, "gone"), 100, "1")) as media:
        connection = http.client.HTTPConnection(media.url.split("/")[2], timeout=10)
        with contextlib.closing(connection), contextlib.suppress(http.client.HTTPException, OSError):
            connection.request("GET", "/" + media.url.split("/", 3)[3])
            connection.getresponse().read()
    assert isinstance(media.error, FileNotFoundError)


SEVERAL = """
import time, sys
from transforms.storage.gcs import GcsStore
before = time.monotonic()
for number in range(20):
    try:
        GcsStore().stat(f"gs://some-bucket/{number}")
    except PermissionError as error:
        message = str(error)
print(time.monotonic() - before, message)
"""


def python(code: str, home: pathlib.Path, **environment: str) -> str:
    """What a process without any settings of Google's says."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("listens", [True, False], ids=["silent", "refuses"])
def test_without_credentials_it_says_so_soon(tmp_path, listens):
    # in the place of the address that only Google's machines answer
    with socket.socket() as machine:
        machine.bind(("127.0.0.1", 0))
        if listens:
            machine.listen(64)
        address = f"127.0.0.1:{machine.getsockname()[1]}"
        said = python(SEVERAL, tmp_path, GCE_METADATA_IP=address, GCE_METADATA_HOST=address)
    seconds, _, message = said.partition(" ")
    assert float(seconds) < 5
    assert message.startswith("gs://some-bucket/19: no credentials for Google Cloud Storage")
    assert "gcloud auth application-default login" in message
    assert "GOOGLE_APPLICATION_CREDENTIALS" in message


def test_a_key_file_that_is_not_there_is_named(tmp_path):
    said = python(SEVERAL, tmp_path, GOOGLE_APPLICATION_CREDENTIALS="/no/such/key.json")
    assert float(said.split()[0]) < 1
    assert "/no/such/key.json" in said


class Machine(http.server.BaseHTTPRequestHandler):
    """The metadata server of a machine of Google's, as its libraries ask it."""

    starting = 2  # requests that a pod's server does not answer yet

    def do_GET(self) -> None:
        if self.starting:
            type(self).starting -= 1
            return
        account = {"email": "worker@project.iam.gserviceaccount.com", "scopes": ["all"], "aliases": ["default"]}
        token = {"access_token": "token-of-the-machine", "expires_in": 3600, "token_type": "Bearer"}
        path = self.path.partition("?")[0].rstrip("/")
        answers = {"default": account, "token": token, "project-id": "project", "universe-domain": "googleapis.com"}
        answer = answers.get(path.rpartition("/")[2], "")
        body = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(200)
        kind = "text/plain" if isinstance(answer, str) else "application/json"
        for name, value in {"Metadata-Flavor": "Google", "Content-Type": kind, "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_machine_of_googles_needs_no_other_credentials(tmp_path, base, gcs_server):
    STORE.put(join(base, "a"), b"content")
    machine = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Machine)
    threading.Thread(target=machine.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{machine.server_port}"
    code = (
        "from transforms.storage import gcs\n"
        f"assert gcs.GcsStore().read({join(base, 'a')!r}) == b'content'\n"
        "print(gcs._client()._credentials.token)"
    )
    settings = {"GCE_METADATA_IP": address, "GCE_METADATA_HOST": address, "API_ENDPOINT_OVERRIDE": gcs_server}
    with contextlib.closing(machine.socket):
        assert python(code, tmp_path, **settings) == "token-of-the-machine"
        machine.shutdown()
    assert Machine.starting == 0
