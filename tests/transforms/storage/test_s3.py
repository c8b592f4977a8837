"""S3 alone: what goes wrong on the way, whose keys are used, what is told, and what is left behind.

What every store must do is in test_stores.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import multiprocessing
import os
import pathlib
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from botocore.utils import parse_timestamp

from tests.conftest import write_wav
from tests.proxy import FaultProxy
from tests.s3 import S3Server
from tests.servers import QuietHandler, free_port, served
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.storage import ChangedError, StorageError, Stores, join, s3, s3_errors
from transforms.storage.profiles import S3Profile
from transforms.storage.s3 import S3Store


@pytest.fixture(autouse=True)
def no_keys_of_this_machine(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3._reset_clients()


@pytest.fixture
def use(monkeypatch):
    """Makes the store of a server, with the server's keys in the environment."""

    def use(server: S3Server, **settings: object) -> S3Store:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        return S3Store(S3Profile(server.name, server.endpoint, **settings))

    return use


@pytest.fixture(params=["moto", pytest.param("ceph", marks=pytest.mark.long(30))])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def base(server):
    return f"s3://{server.name}@{server.new_bucket()}"


@pytest.fixture
def line(ceph):
    """A way to Ceph on which requests meet the fault that `line.choose` names."""
    with FaultProxy(ceph.endpoint) as proxy:
        yield proxy


@pytest.fixture
def far(line, ceph, use):
    """A store at the end of that line, and an empty bucket in it."""
    server = S3Server("far", line.url, ceph.key_id, ceph.secret)
    return use(server, attempts=3, timeout_s=5), f"s3://far@{ceph.new_bucket()}"


@pytest.fixture
def pauses(monkeypatch):
    """The seconds that the store would have waited."""
    waited: list[float] = []
    monkeypatch.setattr(s3, "sleep", waited.append)
    return waited


def answer(status: int, code: str, message: str = "") -> ClientError:
    """What boto3 raises for such an answer of the store."""
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "")


def everything(store: S3Store, uri: str) -> list[Callable[[], object]]:
    """Every request that must tell why it is refused."""
    return [
        lambda: store.read(uri),
        lambda: store.read_range(uri, 0, 1, "version"),
        lambda: list(store.list(uri)),
        lambda: list(store.glob(f"{uri}*")),
        lambda: store.is_folder(uri),
        lambda: store.put(uri, b"a"),
        lambda: store.put_new(uri, b"a"),
        lambda: store.put_file(uri, pathlib.Path(__file__)),
        lambda: store.delete(uri),
    ]


# What goes wrong on the way; test_faults.py has what every store must bear


def test_a_body_that_breaks_off_is_asked_for_again_as_often_as_the_profile_says(line, far, pauses):
    store, base = far
    store.put(join(base, "a"), b"0123456789")
    version = store.stat(join(base, "a")).version
    line.asked.clear()
    line.choose = lambda method, path, number: "short" if number < 2 else ""
    assert store.read_range(join(base, "a"), 2, 5, version) == b"23456"
    line.choose = lambda *_: "short"
    with pytest.raises(StorageError, match=r"127\.0\.0\.1 cannot be reached"):
        store.read(join(base, "a"))
    assert sum(line.asked.values()) == 6
    assert len(pauses) == 4
    assert 0 < pauses[0] < pauses[1] < 2


def test_a_new_object_whose_answer_got_lost_is_known_to_be_ours(line, far):
    store, base = far
    line.choose = lambda method, path, number: "lost" if method == "PUT" and number == 0 else ""
    assert store.put_new(join(base, "a"), b"mine") is True
    assert {method: number for (method, _), number in line.asked.items()} == {"PUT": 2, "GET": 1}


def test_the_object_of_another_is_not_taken_for_ours_when_the_line_is_bad(line, far):
    store, base = far
    store.put(join(base, "a"), b"theirs")
    line.asked.clear()
    line.choose = lambda method, path, number: "lost" if number == 0 else ""
    assert store.put_new(join(base, "a"), b"mine") is False
    line.choose = lambda *_: ""
    line.asked.clear()
    assert store.put_new(join(base, "a"), b"theirs") is False
    assert sum(line.asked.values()) == 1  # there was no doubt: it is not even read


def test_an_upload_that_fails_leaves_nothing(line, far, ceph, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(20_000_000))
    store, base = far
    line.choose = lambda method, path, number: "500" if method == "PUT" and number > 1 else ""
    with pytest.raises(StorageError, match="the store answered 500 InternalError"):
        store.put_file(join(base, "big"), tmp_path / "big")
    assert store.stat(join(base, "big")) is None
    assert "Uploads" not in ceph.client().list_multipart_uploads(Bucket=base.rpartition("@")[2])


def test_the_parts_of_a_file_are_equal(server, base, use, tmp_path):
    store, sent = use(server), {}

    def note(request, **_):
        part = urllib.parse.parse_qs(urllib.parse.urlsplit(request.url).query)["partNumber"]
        sent[int(part[0])] = int(request.headers["Content-Length"])

    s3._client(store.profile).meta.events.register("before-send.s3.UploadPart", note)
    (tmp_path / "big").write_bytes(bytes(20 << 20))
    store.put_file(join(base, "big"), tmp_path / "big")
    assert sent == {1: 8 << 20, 2: 8 << 20, 3: 4 << 20}
    assert store.stat(join(base, "big")).version.endswith("-3")


def test_where_nobody_listens_the_host_is_named(use):
    nobody = S3Server("nobody", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StorageError, match=r"127\.0\.0\.1 cannot be reached \(EndpointConnectionError\)"):
        list(use(nobody, attempts=2).list("s3://nobody@bucket/folder"))


def test_who_writes_at_the_same_moment_as_another_tries_again(moto, use, pauses, monkeypatch):
    store, uri = use(moto), f"s3://moto@{moto.new_bucket()}/a"
    real, answers = s3._client(store.profile), [answer(409, "ConditionalRequestConflict")] * 2

    class Contended:
        def put_object(self, **request):
            if answers:
                raise answers.pop()
            return real.put_object(**request)

    monkeypatch.setattr(s3, "_client", lambda profile: Contended())
    assert store.put_new(uri, b"mine") is True
    answers[:] = [answer(409, "ConditionalRequestConflict")] * 4
    with pytest.raises(StorageError, match="409 ConditionalRequestConflict"):
        store.put_new(uri, b"mine")


# Whose keys are used


def test_a_wrong_secret_is_refused_and_not_told(ceph, use, caplog):
    caplog.set_level(logging.INFO)
    bucket = ceph.new_bucket()
    for wrong in (
        S3Server("wrong", ceph.endpoint, ceph.key_id, "not-the-secret-of-anyone"),
        S3Server("unknown", ceph.endpoint, "not-the-key-of-anyone", "not-the-secret-of-anyone"),
    ):
        store, uri = use(wrong), f"s3://{wrong.name}@{bucket}/a"
        for call in everything(store, uri):
            with pytest.raises(PermissionError) as refused:
                call()
            told = str(refused.value) + str(refused.value.__cause__)
            assert f"BEAM_PIPELINE_STORE_{wrong.name.upper()}_SECRET_ACCESS_KEY" in told
            assert "not-the" not in told + caplog.text
            assert ceph.key_id not in told.replace("wrong@tests", "")


def test_a_header_that_cannot_be_sent_is_not_told(ceph, monkeypatch):
    """http.client quotes the whole header in its error, with the key and the signature."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA\nSMUGGLED")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(OSError) as failed:
        S3Store(S3Profile(endpoint=ceph.endpoint)).read("s3://bucket/a")
    assert "AKIA" not in str(failed.value) + str(failed.value.__cause__)


def test_the_line_end_of_a_file_of_secrets_is_no_part_of_them(ceph, use):
    padded = S3Server("padded", ceph.endpoint, f"{ceph.key_id}\n", f"{ceph.secret}\n")
    assert use(padded).is_folder(f"s3://padded@{ceph.new_bucket()}")


def test_keys_come_from_the_profile_of_that_name_in_awss_files(ceph, tmp_path):
    (tmp_path / "credentials").write_text(
        f"[archive]\naws_access_key_id = {ceph.key_id}\naws_secret_access_key = {ceph.secret}\n"
    )
    base = f"s3://archive@{ceph.new_bucket()}"
    store = Stores((S3Profile("archive", ceph.endpoint),)).serving(base)
    store.put(join(base, "a"), b"content")
    assert store.read(join(base, "a")) == b"content"


def test_without_a_profile_everything_is_as_boto3_finds_it(ceph, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ceph.key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ceph.secret)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", ceph.endpoint)
    base = f"s3://{ceph.new_bucket()}"
    Stores().serving(base).put(join(base, "a"), b"content")
    assert [entry.uri for entry in Stores().serving(base).list(base)] == [f"{base}/a"]


@pytest.mark.parametrize(
    "text",
    ["2026-11-21T19:40:02.000Z", "2026-11-21T19:40:02Z", "Sat, 21 Nov 2026 19:40:02 GMT", 1795290002, "1795290002"],
)
def test_times_in_answers_are_what_botocore_makes_of_them(text):
    assert s3.timestamp(text) == parse_timestamp(text)
    assert s3.timestamp(text).utcoffset() == datetime.timedelta(0)


def test_a_listing_reads_its_times_the_fast_way(moto, use, monkeypatch):
    read = []
    monkeypatch.setattr(s3, "timestamp", read.append)
    base = f"s3://quick@{moto.new_bucket()}"
    store = use(dataclasses.replace(moto, name="quick"))
    store.put(join(base, "a"), b"content")
    assert [entry.uri for entry in store.list(base)] == [f"{base}/a"]
    assert len(read) == 1


@contextlib.contextmanager
def serving(answers: dict[str, str]):
    """An HTTP server that answers paths with texts, and every other request with nothing, for ever."""
    ended = threading.Event()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            content = answers.get(self.path)
            if content is None:
                ended.wait(30)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "21600")
            self.end_headers()
            self.wfile.write(content.encode())

        do_PUT = do_GET

    with served(Handler) as address:
        try:
            yield f"http://{address}"
        finally:
            ended.set()


def lent_keys(server: S3Server, **more: str) -> str:
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=6)
    keys = {"AccessKeyId": server.key_id, "SecretAccessKey": server.secret, "Token": "token"}
    return json.dumps({"Code": "Success", **keys, "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"), **more})


def test_the_role_of_a_machine_gives_keys(moto, monkeypatch):
    role = "/latest/meta-data/iam/security-credentials/"
    answers = {"/latest/api/token": "t", role: "worker", f"{role}worker": lent_keys(moto)}
    with serving(answers) as metadata:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata)
        assert S3Store(S3Profile(endpoint=moto.endpoint)).is_folder(f"s3://{moto.new_bucket()}")


def test_the_role_of_a_container_gives_keys(moto, monkeypatch):
    with serving({"/keys": lent_keys(moto)}) as metadata:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata}/keys")
        profile = S3Profile("of_this_place", moto.endpoint)  # known, but without keys of its own
        assert S3Store(profile).is_folder(f"s3://of_this_place@{moto.new_bucket()}")


def test_without_keys_the_error_comes_soon_and_says_what_to_do(moto, monkeypatch):
    bucket = moto.new_bucket()
    store = S3Store(S3Profile(endpoint=moto.endpoint))
    # a network that swallows what is sent to the metadata service
    with serving({}) as metadata:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata)
        began = time.monotonic()
        with pytest.raises(
            PermissionError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, run `aws configure`"
        ):
            store.stat(f"s3://{bucket}/a")
        with pytest.raises(PermissionError):
            store.stat(f"s3://{bucket}/b")
        # it was asked once: neither again and again, nor for each object
        assert time.monotonic() - began < 3.5
    monkeypatch.setattr(s3, "NO_KEYS_S", 0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret)
    assert store.stat(f"s3://{bucket}/a") is None  # and later they may be there


def test_half_of_a_pair_of_keys_is_none(monkeypatch):
    monkeypatch.setenv("BEAM_PIPELINE_STORE_HALF_ACCESS_KEY_ID", "half")
    with pytest.raises(PermissionError, match="BEAM_PIPELINE_STORE_HALF_SECRET_ACCESS_KEY"):
        S3Store(S3Profile("half", "http://127.0.0.1:9")).read("s3://half@bucket/a")


def test_a_profile_of_which_nothing_is_known_is_an_error_at_once():
    store = Stores().serving("s3://tpyo@bucket/a")
    with pytest.raises(StorageError, match=r"there is no profile tpyo.*BEAM_PIPELINE_STORE_TPYO_ENDPOINT"):
        store.read("s3://tpyo@bucket/a")


# What is told


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (404, "NoSuchKey", FileNotFoundError, "s3://b/k"),
        (404, "NoSuchBucket", StorageError, "there is no bucket b"),
        (403, "AccessDenied", PermissionError, "give the keys the right"),
        (403, "RequestTimeTooSkewed", PermissionError, "set the clock"),
        (400, "ExpiredToken", PermissionError, "have expired: set AWS_ACCESS_KEY_ID"),
        (401, "Unauthorized", PermissionError, "the keys are wrong"),
        (412, "PreconditionFailed", ChangedError, "run again"),
        (416, "InvalidRange", ChangedError, "run again"),
        (301, "PermanentRedirect", StorageError, "301 PermanentRedirect: what the store says"),
        (400, "KeyTooLongError", StorageError, "what the store says"),
        (503, "SlowDown", StorageError, "503 SlowDown: what the store says"),
    ],
)
def test_an_answer_becomes_an_error_that_says_what_to_do(status, code, kind, words):
    error = s3_errors.failure(answer(status, code, "what the store says"), "s3://b/k", "b", S3Profile())
    assert type(error) is kind
    assert words in str(error)
    assert "s3://b/k" in str(error)


def test_a_bucket_that_is_not_there_is_named(server, use):
    store = use(server)
    for call in everything(store, f"s3://{server.name}@no-such-bucket/a"):
        with pytest.raises(StorageError, match="there is no bucket no-such-bucket"):
            call()


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///a", "s3://far@/a", "s3://b/\udcff", "s3://b/" + "k" * 1025, "s3://a b/c"]
)
def test_a_name_that_cannot_be_is_refused(uri, ceph, use):
    store = use(S3Server("far", ceph.endpoint))
    assert store.canonical(store.canonical(uri)) == store.canonical(uri)
    with pytest.raises(StorageError):
        store.put(uri, b"a")
    with pytest.raises(StorageError):
        store.stat(uri)


@pytest.mark.parametrize(
    ("uri", "canonical"),
    [
        ("s3://b", "s3://b"),
        ("s3://b/", "s3://b"),
        ("s3://b/a/", "s3://b/a"),
        ("s3://b/a//b.wav", "s3://b/a//b.wav"),
        ("s3://b//a", "s3://b//a"),
        ("s3://b/../a", "s3://b/../a"),
        ("s3://r2@b/a@c?d#e", "s3://r2@b/a@c?d#e"),
        ("s3://@b/a", "s3://b/a"),
    ],
)
def test_one_place_has_one_spelling(uri, canonical):
    assert S3Store(S3Profile()).canonical(uri) == canonical


# What lies in buckets


def test_keys_that_no_file_system_has_are_found_again(server, base, use):
    keys = ["/a", "a//b", "a/../b", "./c", "d\x01", "e/.", "\\", "f "]
    store = use(server)
    for key in keys:
        store.put(f"{base}/{key}", key.encode())
    assert [entry.uri for entry in store.list(base)] == [f"{base}/{key}" for key in sorted(keys)]
    assert [store.read(f"{base}/{key}").decode() for key in keys] == keys
    assert [entry.uri for entry in store.glob(f"{base}/a/*/*")] == [f"{base}/a//b"]


def test_a_listing_has_more_than_one_page(server, base, use):
    store = use(server)
    uris = [f"{base}/many/{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda uri: store.put(uri, b""), uris))
    store.put(f"{base}/other", b"")
    assert [entry.uri for entry in store.list(f"{base}/many")] == uris
    assert len(list(store.glob(f"{base}/many/*[05]"))) == 220


def test_folders_that_a_console_made_are_no_objects(server, base, use):
    store, bucket = use(server), base.rpartition("@")[2]
    server.client().put_object(Bucket=bucket, Key="empty/")
    server.client().put_object(Bucket=bucket, Key="in/")
    store.put(f"{base}/in/a", b"a")
    assert (
        [entry.uri for entry in store.list(base)]
        == [entry.uri for entry in store.glob(f"{base}/**")]
        == [f"{base}/in/a"]
    )
    assert store.is_folder(f"{base}/empty")
    assert store.stat(f"{base}/empty") is store.stat(f"{base}/empty/") is None


def test_an_empty_bucket_is_an_empty_folder(server, base, use):
    store = use(server)
    assert store.is_folder(base)
    assert store.stat(base) is store.stat(f"{base}/") is None
    assert list(store.list(base)) == list(store.list(f"{base}/")) == list(store.glob(f"{base}/*")) == []


def test_a_sweep_ends_uploads_that_were_begun_below_the_folder(server, base, use):
    store, client, bucket = use(server), server.client(), base.rpartition("@")[2]
    for key in ("out/a b+ü", "out/a b+ü", "out/c/d", "outer"):
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"part")
    store.put(f"{base}/out/whole", b"whole")
    store.sweep(f"{base}/out")
    assert [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["outer"]
    assert [entry.uri for entry in store.list(base)] == [f"{base}/out/whole"]
    store.sweep(base, lambda uri: uri != f"{base}/outer")
    assert [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["outer"]
    store.sweep(base)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_a_sweep_that_is_not_allowed_stops_nobody(monkeypatch, caplog):
    answers = [answer(403, "AccessDenied"), answer(501, "NotImplemented")]

    def refuse(profile):
        raise answers.pop()

    monkeypatch.setattr(s3, "_client", refuse)
    for _ in range(2):
        S3Store(S3Profile()).sweep("s3://bucket/out")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_ffmpeg_fetches_what_it_needs_of_a_large_object(line, far, tmp_path):
    import numpy as np

    noise = np.random.default_rng(0).integers(-9000, 9000, 12_000_000).astype("<i2")
    path = write_wav(tmp_path / "long.wav", noise)
    store, base = far
    uri = join(base, "long.wav")
    store.put_file(uri, path)
    line.asked.clear()
    with store.open_media(store.stat(uri)) as media:
        command = [find_ffmpeg(), "-v", "error", "-ss", "600", "-i", media.url, "-t", "1", "-f", "s16le", "pipe:1"]
        decoded = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    assert media.error is None
    assert decoded == noise[600 * 16_000 : 601 * 16_000].tobytes()
    # Of 256 KiB at first; 94 would be all of it. On a busy machine what lies behind the place is read to the end.
    assert sum(number for (method, _), number in line.asked.items() if method == "GET") <= 8


# Processes


def test_many_threads_get_one_client(ceph, use):
    store = use(ceph)
    with ThreadPoolExecutor(8) as pool:
        clients = set(pool.map(lambda _: s3._client(store.profile), range(8)))
    assert len(clients) == 1


def test_a_forked_child_takes_no_connection_of_its_parent(moto, use):
    store = use(moto)
    uri = f"s3://moto@{moto.new_bucket()}/a"
    store.put(uri, b"content")
    client = s3._client(store.profile)
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def child() -> None:
        sender.send((not s3._clients, store.read(uri)))

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert receiver.poll(30)
    assert receiver.recv() == (True, b"content")
    process.join(30)
    assert store.read(uri) == b"content"
    assert s3._client(store.profile) is client
