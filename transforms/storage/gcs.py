"""Objects in Google Cloud Storage: `gs://bucket/key`.

The key is everything behind the bucket's slash, as it is. One that ends in a slash is a folder that some console
made: no object. Credentials are what Google's libraries find: GOOGLE_APPLICATION_CREDENTIALS, gcloud's, or those of
the machine. With STORAGE_EMULATOR_HOST an emulator is asked, without credentials.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import http.client
import json
import os
import pathlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

import google.auth
import google_crc32c
import requests
import urllib3.exceptions
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Client
from google.resumable_media import DataCorruption, InvalidResponse

from transforms.storage import keys
from transforms.storage.profiles import S3Profile
from transforms.storage.protocol import ChangedError, Entry, MediaSource, StorageError, changed
from transforms.storage.ranges import served
from transforms.storage.secrets import redacted, register

TIMEOUT_S = 20.0  # to connect, and without a byte of the answer
PATIENCE_S = 60.0  # no request begins anew after so long
# Python sends a body in one go: this is for all of it, a chunk at 1 Mbit/s
SEND_TIMEOUT_S = 60.0
SEND_PATIENCE_S = 150.0
FIRST_PAUSE_S = 0.5
CHUNK_BYTES = 8 << 20  # of a resumable upload; a multiple of 256 KiB
METADATA_TIMEOUT_S = 1.0
METADATA_PATIENCE_S = 2.0  # a pod of GKE has its metadata server only after a moment
# that none were found is believed so long: thousands of media would all look for them
NO_CREDENTIALS_S = 30.0
# kept open by a process: its threads decode, read ahead and save at once
CONNECTIONS = 32
SHOWN = 200  # characters of what the store says
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
FIELDS = "items(name,size,generation),nextPageToken"
REMEDY = (
    "run `gcloud auth application-default login`, set GOOGLE_APPLICATION_CREDENTIALS to a key file, "
    "or give the machine a service account"
)
# 409: others write it right now. 410: an upload must start anew
MAY_PASS = {408, 409, 410, 429, 500, 502, 503, 504}
UNREACHED = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, http.client.HTTPException)
FAULTS = (GoogleAPICallError, RetryError, GoogleAuthError, InvalidResponse, DataCorruption, *UNREACHED)

T = TypeVar("T")


class GcsStore:
    """The `Store` of `gs://` URIs. Every request but those of a listing goes through `_ask`."""

    @classmethod
    def serving(cls, uri: str, profiles: Sequence[S3Profile]) -> Self:
        return cls()

    def canonical(self, uri: str) -> str:
        place, slash, key = uri.removeprefix("gs://").rstrip("/").partition("/")
        return f"gs://{place.rpartition('@')[2]}{slash}{key}"

    def stat(self, uri: str) -> Entry | None:
        if not _place(uri)[1]:
            return None
        found = _ask(uri, lambda blob: blob.bucket.get_blob(blob.name, timeout=TIMEOUT_S, retry=None))
        return None if found is None else Entry(self.canonical(uri), found.size, str(found.generation))

    def list(self, folder: str) -> Iterator[Entry]:
        return _listed(folder, keys.below(_place(folder)[1]))

    def glob(self, pattern: str) -> Iterator[Entry]:
        key = _place(pattern)[1]
        if pattern.endswith("/"):  # folders are meant
            return
        parts = key.split("/")
        prefix, flat = keys.literal_start(key)
        level = {"delimiter": "/"} if flat else {}  # else what lies below is listed, and left out here
        for entry in _listed(pattern, prefix, **level):
            if keys.matches(_place(entry.uri)[1].split("/"), parts):
                yield entry

    def links(self, place: str, pattern: bool = False) -> Iterator[str]:
        return iter(())

    def link(self, uri: str) -> str:
        return ""

    def is_folder(self, uri: str) -> bool:
        key = _place(uri)[1]
        return _ask(uri, lambda blob: _holds(blob.bucket, keys.below(key))) or not key

    def read(self, uri: str) -> bytes:
        return _ask(uri, lambda blob: blob.download_as_bytes(checksum="crc32c", timeout=TIMEOUT_S, retry=None))

    def read_range(self, uri: str, start: int, size: int, version: str) -> bytes:
        if not version.isdecimal():
            raise changed(uri)
        end, only = start + size - 1, {"if_generation_match": int(version), "raw_download": True, "checksum": None}

        def read(blob: Any) -> bytes:
            data = blob.download_as_bytes(start=start, end=end, **only, timeout=TIMEOUT_S, retry=None)
            if blob.generation not in (None, int(version)):  # of the answer: fake-gcs-server ignores the condition
                raise changed(uri)
            if len(data) == size:
                return data
            blob.reload(timeout=TIMEOUT_S, retry=None)
            if blob.size <= end:
                raise changed(uri)
            raise ConnectionError("some bytes are missing")

        return _ask(uri, read) if size else b""

    def put(self, uri: str, data: bytes) -> None:
        _ask(uri, lambda blob: _send(blob, data), _retry(SEND_PATIENCE_S))

    def put_new(self, uri: str, data: bytes) -> bool:
        """Writers must put different data: one whose answer got lost knows by its data that it was the first."""
        tried_again: list[Exception] = []
        retry = _retry(SEND_PATIENCE_S, tried_again.append)
        try:
            _ask(uri, lambda blob: _send(blob, data, if_generation_match=0), retry)
        except ChangedError:
            with contextlib.suppress(FileNotFoundError):
                return bool(tried_again) and self.read(uri) == data
            return False
        return True

    def put_file(self, uri: str, path: pathlib.Path) -> None:
        checksum = _crc32c(path)
        of_each_chunk = {"checksum": "crc32c", "timeout": SEND_TIMEOUT_S, "retry": _retry(SEND_PATIENCE_S)}

        def send(blob: Any) -> None:
            blob.chunk_size = CHUNK_BYTES
            blob.crc32c = checksum  # so that the store refuses what is not the file
            try:
                blob.upload_from_filename(str(path), content_type=keys.content_type(blob.name), **of_each_chunk)
            except NotFound:
                if isinstance(missing := _missing(uri), FileNotFoundError):
                    raise ConnectionError("the store has forgotten the upload") from None
                raise missing from None
            except ValueError:  # the library cannot go on from there
                raise ConnectionError("the store has kept a part of a chunk only") from None

        _ask(uri, send, _retry(SEND_PATIENCE_S))

    def delete(self, uri: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            _ask(uri, lambda blob: blob.delete(timeout=TIMEOUT_S, retry=None))

    def sweep(self, folder: str, is_ours: Callable[[str], bool] = lambda _: True) -> None:
        """Nothing: unfinished uploads are in no listing, and end by themselves after a week."""

    def open_media(self, entry: Entry) -> contextlib.AbstractContextManager[MediaSource]:
        return served(
            functools.partial(self.read_range, entry.uri, version=entry.version), entry.size_bytes, entry.uri
        )


class _Session(AuthorizedSession):
    """Makes known what it sends, so that no answer brings it into a message. A token is replaced every hour."""

    def request(self, *words: Any, **settings: Any) -> Any:
        try:
            return super().request(*words, **settings)
        finally:
            register(getattr(self.credentials, "token", None))


class _MetadataRequest(Request):
    """Asks whether this is a machine of Google's, and gives up where the library goes on for 12 to 25 s."""

    def __call__(self, url: str, *args: Any, **settings: Any) -> Any:
        if "metadata-flavor" not in (settings.get("headers") or {}):
            return super().__call__(url, *args, **settings)
        until = time.monotonic() + METADATA_PATIENCE_S
        while True:
            try:
                return super().__call__(url, *args, **{**settings, "timeout": METADATA_TIMEOUT_S})
            except TransportError:
                if time.monotonic() > until:  # no TransportError, which the library would try again
                    raise DefaultCredentialsError("neither a file nor the machine has any") from None
            time.sleep(0.2)


def _may_pass(error: Exception) -> bool:
    fault = isinstance(error, (TransportError, DataCorruption, *UNREACHED))
    return fault or _status(error) in MAY_PASS or getattr(error, "retryable", False)


def _retry(patience_s: float, on_error: Callable[[Exception], object] | None = None) -> Retry:
    """Tries again after a pause that grows and has chance in it: workers that failed together come back apart."""
    return Retry(_may_pass, initial=FIRST_PAUSE_S, maximum=8.0, multiplier=2.0, timeout=patience_s, on_error=on_error)


def _ask(uri: str, request: Callable[[Any], T], retry: Retry | None = None) -> T:
    """What the request gives for the object. Every put here may be repeated: it gives the same whole object again."""
    bucket, key = _place(uri)
    retry = retry or _retry(PATIENCE_S)
    with _translated(uri):
        return retry(lambda: request(_client().bucket(bucket).blob(key)))()


def _listed(uri: str, prefix: str, **settings: str) -> Iterator[Entry]:
    bucket = _place(uri)[0]
    with _translated(uri):
        of_each_page = {"page_size": 1000, "fields": FIELDS, "timeout": TIMEOUT_S, "retry": _retry(PATIENCE_S)}
        for found in _client().list_blobs(bucket, prefix=prefix, **of_each_page, **settings):
            if not found.name.endswith("/"):
                yield Entry(f"gs://{bucket}/{found.name}", found.size, str(found.generation))


def _holds(bucket: Any, prefix: str) -> bool:
    found = bucket.list_blobs(prefix=prefix, max_results=1, fields=FIELDS, timeout=TIMEOUT_S, retry=None)
    return any(True for _ in found)


def _send(blob: Any, data: bytes, **condition: int) -> None:
    settings = {"checksum": "crc32c", "timeout": SEND_TIMEOUT_S, "retry": None}
    blob.upload_from_string(data, content_type=keys.content_type(blob.name), **settings, **condition)


def _crc32c(path: pathlib.Path) -> str:
    """The checksum of the file, as the store writes it."""
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            checksum.update(data)
    return base64.b64encode(checksum.digest()).decode()


def _place(uri: str) -> tuple[str, str]:
    """The bucket and the key."""
    bucket, _, key = uri.removeprefix("gs://").rstrip("/").partition("/")
    if "@" in bucket:
        raise StorageError("gs://…@bucket: nothing stands before a bucket of Google's: write gs://bucket/key")
    if not BUCKET.fullmatch(bucket):
        raise StorageError(f"{uri}: names no bucket: write gs://bucket/key")
    keys.check(key, uri)
    return bucket, key


@contextlib.contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Makes an error of the protocol of what Google's libraries raise in the block."""
    try:
        yield
    except FAULTS as error:
        # Without the cause: some of their messages hold the URL of an upload, which is as good as a key.
        raise _failure(error, uri) from None


def _failure(error: Any, uri: str) -> OSError:
    """What to raise for an error of Google's libraries: what happened and what to do."""
    error = error.cause or error if isinstance(error, RetryError) else error
    if isinstance(error, DataCorruption):  # it has the answer too
        return StorageError(f"{uri}: what came is not what was sent, by its checksum: check the network, run again")
    status, says = _status(error), _says(error)
    if status == 404:
        return _missing(uri)
    if status in (412, 416):
        return changed(uri)
    if status in (401, 403):
        return PermissionError(f"{uri}: {says}: give the account the right to do this, or take another: {REMEDY}")
    if status:
        return StorageError(f"{uri}: {says}")
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return PermissionError(f"{uri}: no credentials for Google Cloud Storage that work ({says}): {REMEDY}")
    host = os.environ.get("STORAGE_EMULATOR_HOST") or "Google Cloud Storage"
    return StorageError(f"{uri}: {host} cannot be reached ({says}): check the network, then run again")


def _missing(uri: str) -> OSError:
    """Whether it is the object or the whole bucket. Who may not list gets the former."""
    bucket = _place(uri)[0]
    try:
        _holds(_client().bucket(bucket), "")
    except FAULTS as error:
        if _status(error) == 404:
            return StorageError(f"{uri}: there is no bucket {bucket}: create it, or check its name")
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)


def _status(error: Any) -> int:
    """The HTTP status of the answer; 0 where there was none."""
    response = getattr(error, "response", None)
    return 0 if response is None else response.status_code


def _says(error: Any) -> str:
    """What the store or the library says, without any URL that was asked for."""
    if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
        return redacted(error.args[0] if error.args else error, SHOWN)
    if not (status := _status(error)):
        return type(error).__name__
    reason = _reason(error.response) or http.client.responses.get(status, "")
    return f"the store answered {status}: {redacted(reason, SHOWN)}"


def _reason(answer: Any) -> str:
    """What the store says of an error: in JSON, or where an object's content was asked for in plain text."""
    try:
        text = answer.text.strip()
    except (RuntimeError, requests.RequestException):  # only a part of it came
        return ""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(text)["error"]["message"])
    return "" if text.startswith(("<", "{", "[")) else text


_clients: dict[str, Any] = {}  # by the emulator's address, "" is Google's own service
_refusal: tuple[float, str] | None = None  # when no credentials were found, and why
_making = threading.Lock()


def _client() -> Any:
    """The client of this process. One that found no credentials is not kept: they may be there soon."""
    global _refusal
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    with _making:
        if emulator not in _clients:
            if _refusal and not emulator and time.monotonic() < _refusal[0] + NO_CREDENTIALS_S:
                raise DefaultCredentialsError(_refusal[1])
            try:
                _clients[emulator] = _make_client(anonymous=bool(emulator))
            except GoogleAuthError as error:
                _refusal = time.monotonic(), str(error)
                raise
        return _clients[emulator]


def _make_client(anonymous: bool) -> Any:
    if anonymous:
        credentials: Any = AnonymousCredentials()
    else:
        credentials, _ = google.auth.default(scopes=Client.SCOPE, request=_MetadataRequest())
    # Else a thread of the library asks for facts of each bucket, for traces that nobody takes.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    # The library's own session keeps 10 connections, and tries to get a token for minutes.
    session = _Session(credentials, auth_request=Request())
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS))
    return Client(project=None, credentials=credentials, _http=session)


def _reset_clients() -> None:
    """A forked child must not share connections with its parent, and another thread may have held the lock."""
    global _making
    _clients.clear()
    _making = threading.Lock()


os.register_at_fork(after_in_child=_reset_clients)
