"""Objects in S3, and in stores that speak its protocol: Cloudflare R2, Ceph, MinIO.

`s3://bucket/key`, or `s3://profile@bucket/key` with the settings and the keys of a profile (see profiles.py). The key
is everything behind the bucket's slash, as it is; one that ends in a slash is a folder that some console made, and no
object. `put_new` needs a store that honours `If-None-Match: *`, as these and AWS do: one that ignores it tells every
writer that it was the first, which nobody would notice here.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import itertools
import logging
import os
import pathlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from time import sleep
from typing import Any, Self

import boto3
import botocore.session
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import parse_timestamp
from urllib3.exceptions import HTTPError

from transforms.storage import keys
from transforms.storage.profiles import S3Profile
from transforms.storage.protocol import Entry, MediaSource, StorageError, changed
from transforms.storage.ranges import served
from transforms.storage.s3_errors import UNREACHED, NotImplementedHereError, failure, keys_hint, status_of
from transforms.storage.secrets import register

# every part but the last: R2 takes equal ones only. Doubled until 10,000 are enough
PART_BYTES = 8 << 20
UPLOADS = 4  # parts of one file that are on their way
# kept open by a process: its threads decode, read ahead and save at once
CONNECTIONS = 32
LONGEST_PAUSE_S = 8.0
# that none were found is believed so long: thousands of media would all look for them
NO_KEYS_S = 30.0

PROFILE = re.compile(r"[A-Za-z0-9_.-]+")
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")  # as S3 writes it

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class S3Store:
    """The `Store` of `s3://` URIs of one profile."""

    profile: S3Profile = dataclasses.field(default_factory=S3Profile)

    @classmethod
    def serving(cls, uri: str, profiles: Sequence[S3Profile]) -> Self:
        place = uri.removeprefix("s3://").split("/", 1)[0]
        name, at, _ = place.rpartition("@")
        if ":" in place or (at and not PROFILE.fullmatch(name)):  # keys may hold slashes
            raise StorageError("s3://…@bucket: what stands before the @ must be the name of a profile, never a key")
        return cls(next((profile for profile in profiles if profile.name == name), S3Profile(name)))

    def canonical(self, uri: str) -> str:
        place, slash, key = uri.removeprefix("s3://").rstrip("/").partition("/")
        return f"s3://{place.removeprefix('@')}{slash}{key}"

    def stat(self, uri: str) -> Entry | None:
        with self._asking(uri) as (client, bucket, key):
            if not key:
                return None
            try:
                found = client.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if status_of(error) == 404:
                    return None
                if status_of(error) in (400, 401, 403):
                    client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)  # HEAD's answer gives no reasons
                raise
            return Entry(self.canonical(uri), found["ContentLength"], _version(found))

    def list(self, folder: str) -> Iterator[Entry]:
        with self._asking(folder) as (client, bucket, key):
            yield from self._listed(client, folder, Bucket=bucket, Prefix=keys.below(key))

    def glob(self, pattern: str) -> Iterator[Entry]:
        with self._asking(pattern) as (client, bucket, key):
            parts = key.split("/")
            prefix, flat = keys.literal_start(key)
            level = {"Delimiter": "/"} if flat else {}  # else what lies below is listed, and left out here
            for entry in self._listed(client, pattern, Bucket=bucket, Prefix=prefix, **level):
                if keys.matches(self._place(entry.uri)[1].split("/"), parts):
                    yield entry

    def links(self, place: str, pattern: bool = False) -> Iterator[str]:
        return iter(())

    def link(self, uri: str) -> str:
        return ""

    def is_folder(self, uri: str) -> bool:
        with self._asking(uri) as (client, bucket, key):
            found = client.list_objects_v2(Bucket=bucket, Prefix=keys.below(key), MaxKeys=1)
            return not key or "Contents" in found

    def read(self, uri: str) -> bytes:
        with self._asking(uri) as (client, bucket, key):
            return self._whole(client, Bucket=bucket, Key=key)

    def read_range(self, uri: str, start: int, size: int, version: str) -> bytes:
        if not size:
            return b""
        with self._asking(uri) as (client, bucket, key):
            stretch = f"bytes={start}-{start + size - 1}"
            found, data = self._content(client, Bucket=bucket, Key=key, Range=stretch, IfMatch=f'"{version}"')
        if _version(found) != version or len(data) != size:  # some stores ignore If-Match
            raise changed(uri)
        return data

    def put(self, uri: str, data: bytes) -> None:
        with self._asking(uri) as (client, bucket, key):
            client.put_object(
                Bucket=bucket, Key=key, Body=data, ContentMD5=_md5(data), ContentType=keys.content_type(key)
            )

    def put_new(self, uri: str, data: bytes) -> bool:
        """Writers must put different data: one whose answer got lost finds by its data that it was the first."""
        with self._asking(uri) as (client, bucket, key):
            place, tried_again = {"Bucket": bucket, "Key": key}, False
            content = {"Body": data, "ContentMD5": _md5(data), "ContentType": keys.content_type(key)}
            for attempt in itertools.count(1):
                try:
                    client.put_object(**place, **content, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    tried_again = tried_again or error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                    if status_of(error) == 412:
                        with contextlib.suppress(client.exceptions.NoSuchKey):  # which is deleted by now
                            return tried_again and self._whole(client, **place) == data
                        return False
                    if status_of(error) != 409 or attempt == self.profile.attempts:  # 409: others write it right now
                        raise
                sleep(_pause_s(attempt))
            raise AssertionError

    def put_file(self, uri: str, path: pathlib.Path) -> None:
        config = TransferConfig(
            multipart_threshold=PART_BYTES,
            multipart_chunksize=PART_BYTES,
            max_concurrency=UPLOADS,
            preferred_transfer_client="classic",  # the same parts everywhere
        )
        with self._asking(uri) as (client, bucket, key), create_transfer_manager(client, config) as manager:
            manager.upload(str(path), bucket, key, {"ContentType": keys.content_type(key)}).result()

    def delete(self, uri: str) -> None:
        with self._asking(uri) as (client, bucket, key), contextlib.suppress(client.exceptions.NoSuchKey):
            client.delete_object(Bucket=bucket, Key=key)

    def sweep(self, folder: str, is_ours: Callable[[str], bool] = lambda _: True) -> None:
        base = "/".join(self.canonical(folder).split("/")[:3])
        try:
            with self._asking(folder) as (client, bucket, key):
                pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=keys.below(key))
                for upload in (upload for page in pages for upload in page.get("Uploads", ())):
                    if not is_ours(f"{base}/{upload['Key']}"):
                        continue  # somebody sends a recording right now
                    with contextlib.suppress(client.exceptions.NoSuchUpload):
                        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except PermissionError as error:
            # no reason to stop: what is left costs money, and harms nothing
            log.warning("unfinished uploads stay: %s", error)
        except NotImplementedHereError:
            pass

    def open_media(self, entry: Entry) -> contextlib.AbstractContextManager[MediaSource]:
        return served(
            functools.partial(self.read_range, entry.uri, version=entry.version), entry.size_bytes, entry.uri
        )

    def _place(self, uri: str) -> tuple[str, str]:
        """The bucket and the key."""
        place, _, key = self.canonical(uri).removeprefix("s3://").partition("/")
        bucket = place.rpartition("@")[2]
        if not bucket:
            raise StorageError(f"{uri}: names no bucket: write s3://bucket/key")
        keys.check(key, uri)
        return bucket, key

    @contextlib.contextmanager
    def _asking(self, uri: str) -> Iterator[tuple[Any, str, str]]:
        """The client, the bucket and the key; what boto3 raises in the block becomes an error of the protocol."""
        bucket, key = self._place(uri)
        try:
            yield _client(self.profile), bucket, key
        except (BotoCoreError, ClientError, HTTPError) as error:
            # Without the cause: some of botocore's messages hold the signed header or the whole URL.
            raise failure(error, uri, bucket, self.profile) from None

    def _listed(self, client: Any, uri: str, **request: str) -> Iterator[Entry]:
        base = "/".join(self.canonical(uri).split("/")[:3])
        for page in client.get_paginator("list_objects_v2").paginate(**request):
            for found in page.get("Contents", ()):
                if not found["Key"].endswith("/"):
                    yield Entry(f"{base}/{found['Key']}", found["Size"], _version(found))

    def _whole(self, client: Any, **place: str) -> bytes:
        try:
            return self._content(client, **place, Range="bytes=0-")[1]  # the answer then tells the size twice
        except ClientError as error:
            if status_of(error) != 416:
                raise
            return self._content(client, **place)[1]  # an object without bytes has no range

    def _content(self, client: Any, **request: str) -> tuple[dict[str, Any], bytes]:
        """The store's answer and its whole body. botocore tries again only until the body begins."""
        for attempt in itertools.count(1):
            found = None
            try:
                found = client.get_object(**request)
                with contextlib.closing(found["Body"]) as body:
                    data = body.read()
                if len(data) != (expected := _length(found)):
                    raise exceptions.IncompleteReadError(actual_bytes=len(data), expected_bytes=expected)
                return found, data
            except UNREACHED as error:
                # botocore tries again itself until an answer begins, but not where the body of a refusal breaks off.
                given_up = found is None and isinstance(error, BotoCoreError)
                if given_up or attempt == self.profile.attempts:
                    raise
            sleep(_pause_s(attempt))
        raise AssertionError


def _version(found: dict[str, Any]) -> str:
    return found["ETag"].strip('"')


def _length(found: dict[str, Any]) -> int:
    """How many bytes the answer is about: what middlemen break is the body and its Content-Length."""
    given = re.match(r"bytes (\d+)-(\d+)", found.get("ContentRange", ""))
    return int(given[2]) - int(given[1]) + 1 if given else found["ContentLength"]


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _pause_s(attempt: int) -> float:
    """Longer after each attempt, by chance a little less: workers that failed together come back apart."""
    return random.uniform(0.5, 1) * min(LONGEST_PAUSE_S, 0.25 * 2**attempt)


_clients: dict[S3Profile, Any] = {}
_keyless: dict[S3Profile, float] = {}  # when no keys were found
_making = threading.Lock()


def _client(profile: S3Profile) -> Any:
    """The client of the profile in this process. One that found no keys is not kept: they may be there soon."""
    with _making:
        if profile not in _clients:
            if time.monotonic() < _keyless.get(profile, -NO_KEYS_S) + NO_KEYS_S:
                raise exceptions.NoCredentialsError
            _clients[profile] = _make_client(profile)
        return _clients[profile]


def _make_client(profile: S3Profile) -> Any:
    session = _session(profile)
    credentials = session.get_credentials()  # asks the machine's metadata service last, twice for 1 s
    if credentials is None:
        _keyless[profile] = time.monotonic()
        raise exceptions.NoCredentialsError
    config = Config(
        signature_version="s3v4",
        connect_timeout=profile.timeout_s,
        read_timeout=profile.timeout_s,
        retries={"mode": "adaptive", "total_max_attempts": profile.attempts},
        s3={"addressing_style": profile.addressing},
        # R2, Ceph and older MinIO know none of the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
    )
    try:
        client = session.client(
            "s3", endpoint_url=profile.endpoint or None, region_name=profile.region or None, config=config
        )
    except ValueError:  # its message has the whole URL
        raise StorageError(f"the endpoint or the region of {profile.name or 'S3'} is none") from None
    # As a request is signed: a role's keys change every few hours.
    client.meta.events.register("before-sign.s3", lambda **_: register(*credentials.get_frozen_credentials()[:3]))
    return client


def _session(profile: S3Profile) -> boto3.Session:
    """Has the keys: of the profile's variables, else of AWS's profile of that name, else what AWS's tools find.

    Raises:
        StorageError: nothing at all is known of the profile.
    """
    keys = {name: value.strip() for name, value in profile.credentials().items()}  # files of secrets end their line
    if keys and not {"aws_access_key_id", "aws_secret_access_key"} <= keys.keys():
        raise exceptions.PartialCredentialsError(provider=profile.name, cred_var="one of the two")
    core = botocore.session.Session()
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=timestamp)
    of_that_name = profile.name in core.available_profiles
    if profile.name and not keys and not of_that_name and profile == S3Profile(profile.name):
        raise StorageError(
            f"there is no profile {profile.name}: give it an endpoint under `stores:` in the config file, "
            f"or {profile.variable('ENDPOINT')}; keys never stand in a URI. Then {keys_hint(profile)}"
        )
    named = profile.name if of_that_name and not keys else None
    return boto3.Session(profile_name=named, botocore_session=core, **keys)


def timestamp(text: Any) -> datetime.datetime:
    """What botocore makes of a time in an answer, but faster: most of reading a listing was reading its times."""
    if isinstance(text, str) and ISO_TIME.fullmatch(text):
        return datetime.datetime.fromisoformat(text)
    return parse_timestamp(text)


def _reset_clients() -> None:
    """A forked child must not share connections with its parent, and another thread may have held the lock."""
    global _making
    _clients.clear()
    _keyless.clear()
    _making = threading.Lock()


os.register_at_fork(after_in_child=_reset_clients)
