"""An object of a store that ffmpeg reads by HTTP on loopback: whole or with an error, and no more than is needed."""

from __future__ import annotations

import functools
import hashlib
import http.client
import multiprocessing
import os
import pathlib
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from transforms.media import ffmpeg, ffmpeg_command
from transforms.media.ffmpeg_command import DecodeRequest
from transforms.storage import MediaSource, StorageError, ranges
from transforms.storage.ranges import FIRST_BLOCK, LARGEST_BLOCK, NEAR, RangeReader, served

MIB = 1 << 20
NOISE = ["-f", "lavfi", "-i", "anoisesrc=d=20:c=pink:seed=1:r=44100"]
FORMATS = {
    "a.wav": ["-ac", "2"],
    "a.mp3": ["-b:a", "320k"],
    "a.ogg": ["-c:a", "libvorbis", "-q:a", "9"],
    "a.flac": [],
    "a.mkv": ["-c:a", "flac"],
    "at the end.mp4": ["-c:a", "aac", "-b:a", "320k"],
    "in front.m4a": ["-c:a", "aac", "-b:a", "320k", "-movflags", "+faststart"],
    "a.al": ["-ar", "8000", "-f", "alaw"],  # nothing but the name says what it is
}


class Store:
    """The fetch of an object, which remembers what was asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, size: int) -> bytes:
        self.asked.append((start, size))
        return self.data[start : start + size]

    def asked_bytes(self) -> int:
        return sum(size for _, size in self.asked)


class Failing(Store):
    """Cannot give what holds this byte."""

    def __init__(self, data: bytes, at: int, failure: Exception) -> None:
        super().__init__(data)
        self.at, self.failure = at, failure

    def __call__(self, start: int, size: int) -> bytes:
        if start <= self.at < start + size:
            raise self.failure
        return super().__call__(start, size)


class Stuck(Store):
    """Gives the first block, and never the others."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.asked_more, self.let_go = threading.Event(), threading.Event()

    def __call__(self, start: int, size: int) -> bytes:
        if start:
            self.asked_more.set()
            self.let_go.wait(60)
        return super().__call__(start, size)


class Decoded(NamedTuple):
    pcm: bytes
    ended_well: bool
    cut_short: bool
    log: str


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def run_ffmpeg(*words: object) -> None:
    subprocess.run([ffmpeg_command.find_ffmpeg(), "-v", "error", "-y", *map(str, words)], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def media(folder) -> Callable[[str], pathlib.Path]:
    @functools.cache
    def made(name: str) -> pathlib.Path:
        run_ffmpeg(*NOISE, *FORMATS[name], folder / name)
        return folder / name

    return made


@pytest.fixture(scope="module")
def films(folder) -> tuple[pathlib.Path, pathlib.Path]:
    """The same 40 MB of video and 6 s of sound, interleaved frame by frame and in stretches of two seconds."""
    video = ["-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=6,noise=alls=80:allf=t"]
    coded = ["-c:v", "mpeg4", "-b:v", "64M", "-maxrate", "64M", "-bufsize", "16M", "-c:a", "aac"]
    fine, coarse = folder / "fine.mp4", folder / "coarse.mp4"
    run_ffmpeg(*video, "-f", "lavfi", "-i", "sine=f=440:d=6", *coded, fine)
    run_ffmpeg("-i", fine, "-c", "copy", "-chunk_duration", 2_000_000, coarse)
    return fine, coarse


def decode(source: MediaSource) -> Decoded:
    with ffmpeg.Decoder(source.url, source.protocols, DecodeRequest(), 60) as decoder:
        pcm = b"".join(decoder.blocks(16_000))
        ended_well, log = decoder.finish()
        return Decoded(pcm, ended_well, decoder.cut_short(), log)


def from_disk(path: pathlib.Path) -> Decoded:
    return decode(MediaSource(f"file:{path}", "file"))


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)


def ask(url: str, byte_range: str = "", method: str = "GET") -> Answer:
    connection = connect(url)
    connection.request(method, urlsplit(url).path, headers={"Range": byte_range} if byte_range else {})
    answer = connection.getresponse()
    return Answer(answer.status, dict(answer.getheaders()), answer.read())


def bytes_of(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def until(true: Callable[[], object]) -> bool:
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(true())


@pytest.mark.parametrize("name", FORMATS)
def test_ffmpeg_decodes_what_it_decodes_from_disk(media, name):
    path = media(name)
    with served(Store(path.read_bytes()), path.stat().st_size, f"s3://bucket/{name}") as source:
        decoded = decode(source)
    expected = from_disk(path)
    assert len(decoded.pcm) == len(expected.pcm) > 100_000
    assert hashlib.sha256(decoded.pcm).digest() == hashlib.sha256(expected.pcm).digest()
    assert (decoded.ended_well, decoded.cut_short, source.error) == (True, False, None)


def test_a_film_that_is_interleaved_finely_is_fetched_once(films):
    fine, _ = films
    store = Store(fine.read_bytes())
    with served(store, len(store.data), "a.mp4") as source:
        decoded = decode(source)
    assert decoded.pcm == from_disk(fine).pcm
    assert store.asked_bytes() <= len(store.data) + MIB
    assert len(store.asked) < 16


def test_video_in_long_stretches_is_not_fetched(films):
    fine, coarse = films
    store = Store(coarse.read_bytes())
    with served(store, len(store.data), "a.mp4") as source:
        decoded = decode(source)
    assert decoded.pcm == from_disk(fine).pcm
    assert len(store.data) > 30 * MIB
    assert store.asked_bytes() < len(store.data) / 2


def test_an_mp4_in_fragments_is_fetched_once(tmp_path):
    path = tmp_path / "fragments.mov"
    sound = ["-f", "lavfi", "-i", "anoisesrc=d=320:seed=1:r=44100", "-ac", "2", "-c:a", "pcm_s16le"]
    run_ffmpeg(*sound, "-movflags", "empty_moov", "-frag_duration", 2_000_000, path)
    store = Store(path.read_bytes())
    assert len(store.data) > 3 * LARGEST_BLOCK  # more than is held: what is wanted again is fetched again
    with served(store, len(store.data), path.name) as source:
        decoded = decode(source)
    assert decoded.pcm == from_disk(path).pcm
    assert store.asked_bytes() <= len(store.data) + MIB


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "at the end.mp4", "in front.m4a"])
def test_where_the_store_fails_the_source_says_so_and_ffmpeg_ends(media, name):
    whole, failure = media(name).read_bytes(), StorageError("the store is gone")
    before = time.monotonic()
    with served(Failing(whole, len(whole) * 2 // 3, failure), len(whole), name) as source:
        decoded = decode(source)
    assert source.error is failure
    assert len(decoded.pcm) < 600_000
    assert time.monotonic() - before < 10


def test_a_store_that_fails_at_once_says_so(media):
    whole, failure = media("a.wav").read_bytes(), PermissionError(13, "no")
    with served(Failing(whole, 0, failure), len(whole)) as source:
        decoded = decode(source)
        assert (decoded.pcm, source.error) == (b"", failure)
        assert ask(source.url).status == 502


def test_too_few_bytes_are_an_error():
    with served(lambda start, size: bytes(size - 1), 100) as source:
        with pytest.raises(http.client.IncompleteRead):
            ask(source.url)
        assert isinstance(source.error, StorageError)
        assert "99 bytes of 100 from 0" in str(source.error)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fetch_that_breaks_leaves_nobody_waiting():
    with served(Failing(bytes(MIB), MIB // 2, RuntimeError("a bug")), MIB) as source:
        with pytest.raises(http.client.IncompleteRead):
            ask(source.url)
        assert "log of the worker" in str(source.error)
    for thread in threading.enumerate():
        if "_bring" in thread.name:
            thread.join(10)


def test_what_was_fetched_ahead_and_failed_is_no_error_until_it_is_read():
    data = bytes_of(4 * MIB)
    reader = RangeReader(Failing(data, 3 * MIB, StorageError("gone")), len(data))
    assert b"".join(reader.read(0, MIB)) == data[:MIB]
    with pytest.raises(StorageError, match="gone"):
        list(reader.read(0, len(data)))


def test_a_reading_that_another_one_cut_off_does_not_pass_for_whole(media):
    whole = media("a.wav").read_bytes()
    with (
        served(Store(whole), len(whole), "a.wav") as source,
        ffmpeg.Decoder(source.url, source.protocols, DecodeRequest(), 60) as decoder,
    ):
        blocks = decoder.blocks(1600)
        next(blocks)
        assert ask(source.url, "bytes=0-0").body == whole[:1]
        assert len(list(blocks)) < 150
        decoder.finish()
        assert decoder.cut_short()


def test_leaving_does_not_wait_for_a_fetch_that_never_returns(media):
    whole = media("a.wav").read_bytes()
    store = Stuck(whole)
    with ThreadPoolExecutor(1) as pool:
        with served(store, len(whole), "a.wav") as source:
            decoding = pool.submit(decode, source)
            assert store.asked_more.wait(10)
            before = time.monotonic()
        assert decoding.result(10).cut_short
        assert time.monotonic() - before < 2
    assert source.error is None
    store.let_go.set()


def test_a_reader_that_stands_still_does_not_make_more_be_fetched():
    store = Store(bytes(64 * MIB))
    with served(store, len(store.data)) as source:
        connection = connect(source.url)
        connection.request("GET", urlsplit(source.url).path)
        assert len(connection.getresponse().read(FIRST_BLOCK)) == FIRST_BLOCK
        time.sleep(0.3)
        fetched = store.asked_bytes()
        time.sleep(0.3)
        assert store.asked_bytes() == fetched < 16 * MIB
        connection.close()


def test_reading_from_end_to_end_takes_few_requests_and_little_memory():
    store = Store(bytes_of(50 * MIB))
    reader = RangeReader(store, len(store.data))
    digest, held = hashlib.sha256(), 0
    for piece in reader.read(0, len(store.data)):
        digest.update(piece)
        held = max(held, reader.held_bytes())
    assert digest.digest() == hashlib.sha256(store.data).digest()
    assert reader.fetched_bytes == store.asked_bytes() == len(store.data)
    assert reader.requests == len(store.asked) <= 12
    assert LARGEST_BLOCK < held <= 3 * LARGEST_BLOCK


def test_the_next_block_is_on_its_way_before_the_present_one_is_read():
    data, asked = bytes(30 * MIB), {}

    def fetch(start: int, size: int) -> bytes:
        asked.setdefault(start, threading.Event()).set()
        return data[start : start + size]

    reader, position, ahead = RangeReader(fetch, len(data)), 0, 0
    for piece in reader.read(0, len(data)):
        position += len(piece)
        block_end = next((start for start in sorted(asked) if start > position - len(piece)), len(data))
        if position >= 3 * FIRST_BLOCK and block_end < len(data):
            assert until(lambda: any(start >= position for start in list(asked)))  # noqa: B023 - called at once
            ahead += 1
    assert position == len(data)
    assert ahead > 100


@pytest.mark.parametrize("steps", [[180_000, -20_000], [300_000, -200_000], [NEAR - 1000, -50_000, 200_000]])
def test_jumps_over_little_and_back_a_little_stay_a_sequential_reading(steps):
    store = Store(bytes_of(40 * MIB))
    reader, position, jumps = RangeReader(store, len(store.data)), 0, 0
    while position < len(store.data) - MIB:
        assert b"".join(reader.read(position, position + 100_000)) == store.data[position : position + 100_000]
        position += steps[jumps % len(steps)]
        jumps += 1
    assert jumps > 100
    assert len(store.asked) < 16
    assert store.asked_bytes() < len(store.data) + 2 * MIB


def test_jumps_over_much_fetch_what_is_read():
    store = Store(bytes_of(64 * MIB))
    reader = RangeReader(store, len(store.data))
    for start in range(0, len(store.data), 2 * MIB):
        assert b"".join(reader.read(start, start + 20_000)) == store.data[start : start + 20_000]
    assert store.asked_bytes() == 32 * FIRST_BLOCK


def test_head_and_end_stay_at_hand():
    store = Store(bytes_of(60 * MIB))
    size = len(store.data)
    reader = RangeReader(store, size)
    assert b"".join(reader.read(size - 10, size)) == store.data[-10:]
    for _ in reader.read(0, size // 2):
        pass
    requests = len(store.asked)
    assert b"".join(reader.read(0, FIRST_BLOCK)) == store.data[:FIRST_BLOCK]
    assert b"".join(reader.read(size - FIRST_BLOCK, size)) == store.data[-FIRST_BLOCK:]
    assert len(store.asked) == requests
    assert reader.held_bytes() <= 3 * LARGEST_BLOCK


def test_wherever_it_is_read_the_bytes_are_right_and_memory_is_bounded():
    store, chance = Store(bytes_of(40 * MIB)), random.Random(7)
    size = len(store.data)
    reader = RangeReader(store, size)
    for _ in range(300):
        start = chance.randrange(size)
        end = start + chance.choice([1, 1000, 100_000, 3_000_000])
        assert b"".join(reader.read(start, end)) == store.data[start:end]
        assert reader.held_bytes() <= 3 * LARGEST_BLOCK


def test_a_new_reading_ends_the_one_before():
    store = Stuck(bytes_of(4 * MIB))
    reader = RangeReader(store, len(store.data))
    first = reader.read(0, len(store.data))
    assert bytes(next(first)) == store.data[: ranges.PIECE]
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, first)
        assert store.asked_more.wait(10)
        second = reader.read(100, 200)
        assert sum(map(len, rest.result(10))) == FIRST_BLOCK - ranges.PIECE
    assert b"".join(second) == store.data[100:200]
    reader.close()
    assert list(reader.read(0, 100)) == []
    store.let_go.set()


@pytest.mark.parametrize(
    ("byte_range", "status", "start", "end"),
    [
        ("", 200, 0, 1000),
        ("bytes=0-", 206, 0, 1000),
        ("bytes=999-", 206, 999, 1000),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=990-5000", 206, 990, 1000),
        ("bytes=-5", 200, 0, 1000),  # ignored, as RFC 9110 allows; and so are the next
        ("bytes=0-1,5-6", 200, 0, 1000),
        ("chunks=0-1", 200, 0, 1000),
    ],
)
def test_ranges(byte_range, status, start, end):
    data = bytes_of(1000)
    with served(Store(data), len(data)) as source:
        got = ask(source.url, byte_range)
        head = ask(source.url, byte_range, "HEAD")
    assert (got.status, got.body) == (status, data[start:end])
    assert (head.status, head.body) == (status, b"")
    for headers in (got.headers, head.headers):
        assert (headers["Content-Length"], headers["Accept-Ranges"]) == (str(end - start), "bytes")
        assert headers.get("Content-Range") == (f"bytes {start}-{end - 1}/1000" if status == 206 else None)


@pytest.mark.parametrize("byte_range", [f"bytes={8 * MIB}-", "bytes=90000000-90000001", "bytes=7-3"])
def test_a_range_that_holds_nothing_is_refused_and_disturbs_nobody(byte_range):
    data = bytes_of(8 * MIB)
    with served(Store(data), len(data)) as source:
        connection = connect(source.url)
        connection.request("GET", urlsplit(source.url).path)
        answer = connection.getresponse()
        refused = ask(source.url, byte_range)
        assert (refused.status, refused.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
        assert ask(source.url, "bytes=0-", "HEAD").status == 206
        assert answer.read() == data


def test_a_connection_that_nobody_reads_does_not_outlive_its_media():
    before = set(threading.enumerate())  # other tests' servers have some of that name

    def answering() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if "process_request" in each.name and each not in before]

    with (
        served(Store(bytes(8 * MIB)), 8 * MIB) as source,
        socket.create_connection(("127.0.0.1", urlsplit(source.url).port)) as idle,
    ):
        idle.sendall(f"GET {urlsplit(source.url).path} HTTP/1.1\r\n\r\n".encode())
        assert until(answering)
        time.sleep(0.3)  # until its buffers are full
        assert ask(source.url, "bytes=0-0").status == 206
        assert until(lambda: not answering())


def test_an_object_without_bytes(media):
    store = Store(b"")
    with served(store, 0, "a.wav") as source:
        assert ask(source.url)[::2] == ask(source.url, "bytes=0-")[::2] == (200, b"")
        assert decode(source).pcm == b""
        assert source.error is None
    assert store.asked == []


def test_an_address_is_good_for_one_recording_and_one_time():
    with served(Store(b"abc"), 3, "a.mp3") as source, served(Store(b"xyz"), 3) as other:
        assert (ask(source.url).body, ask(other.url).body) == (b"abc", b"xyz")
        server = "http://" + urlsplit(source.url).netloc
        for path in ("/", "/media", urlsplit(source.url).path + "x", "/" + "A" * 43 + "/media.mp3"):
            assert ask(server + path).status == 404
    assert ask(source.url).status == ask(other.url).status == 404


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("", ""),
        ("s3://bucket/b/a.MP3", ".MP3"),
        ("no suffix", ""),
        ("a.tar.gz/b", ""),
        ("a.mp4?x=/..", ""),
        ("a. b", ""),
        ("a.\n", ""),
        ("a.बातचीत", ""),
        ("a.thisistoolong", ""),
    ],
)
def test_the_address_holds_the_suffix_of_the_name_and_nothing_else_of_it(name, suffix):
    with served(Store(b"abc"), 3, name) as source:
        assert source.url.rpartition("/")[2] == f"media{suffix}"
        assert ask(source.url).body == b"abc"
        assert source.protocols == "http,tcp"


def test_what_fails_reads_the_same_in_every_run():
    logs = set()
    for _ in range(2):
        with served(Store(bytes_of(1000)), 1000, "a.mp4") as source:
            logs.add(decode(source).log)
    [log] = logs
    assert "media.mp4" in log
    assert "127.0.0.1" not in log


@pytest.fixture
def listener():
    """A server that nobody may ask, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server, f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("no_proxy", ["", "*", "127.0.0.1"])
def test_no_proxy_of_the_environment_gets_to_see_the_address(media, monkeypatch, listener, no_proxy):
    server, address = listener
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.setenv("no_proxy", no_proxy)
    whole = media("a.mp3").read_bytes()
    with served(Store(whole), len(whole), "a.mp3") as source:
        assert decode(source).pcm == from_disk(media("a.mp3")).pcm
    with pytest.raises(BlockingIOError):
        server.accept()


@pytest.mark.parametrize("name", ["a.m3u8", "a.mp3", ""])
@pytest.mark.parametrize("no_proxy", ["", "*"])
def test_a_playlist_that_passes_for_a_recording_reaches_no_other_server(monkeypatch, listener, name, no_proxy):
    server, address = listener
    monkeypatch.setenv("no_proxy", no_proxy)
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}/a.ts\n#EXTINF:5,\na.ts\n#EXT-X-ENDLIST\n"
    with served(Store(text.encode()), len(text), name) as source:
        assert decode(source).pcm == b""
    with pytest.raises(BlockingIOError):
        server.accept()


def test_many_media_at_once_do_not_mix():
    def read(number: int) -> int:
        store, chance = Store(bytes_of(3 * MIB, number)), random.Random(number)
        with served(store, len(store.data)) as source:
            for _ in range(20):
                start = chance.randrange(len(store.data))
                end = min(len(store.data), start + chance.choice([1, 5000, 700_000]))
                assert ask(source.url, f"bytes={start}-{end - 1}").body == store.data[start:end]
            assert ask(source.url).body == store.data
            assert source.error is None
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(16))) == list(range(16))


def serve_in_child(pipe: multiprocessing.connection.Connection) -> None:
    with served(Store(b"of the child"), 12) as source:
        pipe.send((source.url, ask(source.url).body))
        pipe.recv()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_serves_by_a_server_of_its_own():
    fork = multiprocessing.get_context("fork")
    with served(Store(b"of the parent"), 13) as source:
        assert ask(source.url).body == b"of the parent"
        ours, theirs = fork.Pipe()
        child = fork.Process(target=serve_in_child, args=(theirs,), daemon=True)
        child.start()
        assert ours.poll(20)
        url, body = ours.recv()
        assert body == b"of the child"
        assert urlsplit(url).port != urlsplit(source.url).port
        assert ask(source.url).body == b"of the parent"
        assert ask(url).body == b"of the child"
        ours.send(None)
        child.join(20)
        assert child.exitcode == 0
        assert ask(source.url).body == b"of the parent"
