"""What every store must do, proved of each: files, S3 as moto and as Ceph serve it, and Google's."""

from __future__ import annotations

import os
import pickle
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import SAMPLES
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.storage import ChangedError, Stores, join

KEY = "a b+c%20d#e?f/ü/हिन्दी.wav"
KEYS = [KEY, "zoë/e\u0301 😀.mp3", "~'\"<>&*()!$,;:=@[]{}|^`.txt", ".hidden", "..a/b.", " space ", "p%2Bq%25", "a\\b"]


@pytest.fixture
def local_place(tmp_path):
    return Stores().serving(str(tmp_path)), str(tmp_path)


# A store that is added here needs a fixture NAME_place that gives (the store, the URI of a place in it).
@pytest.fixture(params=["local", "moto", pytest.param("ceph", marks=pytest.mark.long(30)), "gcs"])
def store_place(request):
    """A store and the URI of a folder in it that does not exist yet."""
    store, base = request.getfixturevalue(f"{request.param}_place")
    return store, join(base, uuid.uuid4().hex[:8])


def fill(place, *names: str) -> None:
    store, base = place
    for name in names:
        store.put(join(base, name), name.encode())


def names(place, entries) -> list[str]:
    store, base = place
    return [entry.uri.removeprefix(store.canonical(base) + "/") for entry in entries]


@pytest.mark.parametrize("key", KEYS)
def test_an_object_of_any_name_is_found_again(store_place, key):
    store, base = store_place
    uri = join(base, key)
    store.put(uri, b"0123456789")
    entry = store.stat(uri)
    assert entry.uri == store.canonical(uri) == store.canonical(entry.uri)
    assert entry.size_bytes == 10
    assert store.read(uri) == store.read(entry.uri) == b"0123456789"
    assert store.read_range(entry.uri, 3, 4, entry.version) == b"3456"
    assert list(store.list(base)) == [entry]
    assert store.put_new(uri, b"other") is False
    store.delete(uri)
    assert store.stat(uri) is None


def test_an_object_without_bytes_is_an_object(store_place, tmp_path):
    store, base = store_place
    (tmp_path / "nothing").touch()
    store.put(join(base, "a"), b"")
    assert store.put_new(join(base, "b"), b"") is True
    store.put_file(join(base, "c"), tmp_path / "nothing")
    assert names(store_place, store.list(base)) == ["a", "b", "c"]
    for name in "abc":
        entry = store.stat(join(base, name))
        assert (entry.size_bytes, store.read(entry.uri)) == (0, b"")
        assert store.read_range(entry.uri, 0, 0, entry.version) == b""


def test_a_put_replaces_and_the_version_tells(store_place):
    store, base = store_place
    uri = join(base, "a")
    versions = []
    for content in (b"one", b"three", b"four"):
        store.put(uri, content)
        entry = store.stat(uri)
        assert (store.read(uri), entry.size_bytes) == (content, len(content))
        assert entry == store.stat(uri)
        versions.append(entry.version)
    assert len(set(versions)) == 3


def test_of_many_who_put_a_new_object_one_does(store_place):
    store, base = store_place
    with ThreadPoolExecutor(8) as pool:
        for name in ("first", "second", "third"):
            uri = join(base, "deep", name)
            done = list(pool.map(lambda number, uri=uri: store.put_new(uri, b"%d" % number), range(8)))
            assert sum(done) == 1
            assert store.read(uri) == b"%d" % done.index(True)


@pytest.mark.parametrize("size", [1000, 20_000_000])
def test_a_file_is_put_whole_and_stays(store_place, tmp_path, size):
    store, base = store_place
    path = tmp_path / "from.bin"
    path.write_bytes(os.urandom(size))
    store.put_file(join(base, "a b", "to.bin"), path)
    [entry] = store.list(base)
    assert entry == store.stat(join(base, "a b", "to.bin"))
    assert store.read(entry.uri) == path.read_bytes()
    assert store.read_range(entry.uri, size - 700, 600, entry.version) == path.read_bytes()[-700:-100]


def test_what_is_missing_has_no_stat_and_cannot_be_read(store_place):
    store, base = store_place
    fill(store_place, "folder/a")
    for name in ("gone", "folder", "folder/", "fold", "folder/b", "folder/a/b", "gone/b"):
        assert store.stat(join(base, name)) is None
    for name in ("gone", "folder/b"):
        with pytest.raises(FileNotFoundError, match=name):
            store.read(join(base, name))
        with pytest.raises((FileNotFoundError, ChangedError)):
            store.read_range(join(base, name), 0, 1, "version")


def test_a_folder_is_what_something_lies_below(store_place):
    store, base = store_place
    assert not store.is_folder(base)
    fill(store_place, "folder/deeper/a")
    there = ["", "folder", "folder/", "folder/deeper"]
    assert [
        name for name in [*there, "fold", "folder/deeper/a", "gone"] if store.is_folder(join(base, name))
    ] == there


LISTED = ["A", "a", "a-b/x", "a.b", "a/b", "a/c/d", "a b", "a0", "z/.hidden", "é", "\uffee", "😀/x"]


def test_a_listing_has_all_below_in_the_order_of_names(store_place):
    store, base = store_place
    given = [name for name in LISTED if name != "a"]  # in a file system it cannot be a file and a folder
    fill(store_place, *given)
    store.put(f"{base}-beside/a", b"")
    assert names(store_place, store.list(base)) == sorted(given)
    assert names(store_place, store.list(f"{base}/")) == sorted(given)
    assert names(store_place, store.list(join(base, "a"))) == ["a/b", "a/c/d"]
    assert (
        names(store_place, store.list(join(base, "a-b/x"))) == names(store_place, store.list(join(base, "no"))) == []
    )
    for entry in store.list(base):
        assert entry == store.stat(entry.uri)
        assert store.canonical(entry.uri) == entry.uri


PATTERNS = {
    "*.wav": ["a.wav", "b.wav"],
    "?.wav": ["a.wav", "b.wav"],
    "[!a]*.wav": ["b.wav"],
    "[a]*": ["a.wav"],
    "a*": ["a.wav"],
    "*/*.wav": ["in/a.wav", "in/c d.wav"],
    "in/*": ["in/a.wav", "in/c d.wav"],
    "in/c *.wav": ["in/c d.wav"],
    "**/*.wav": ["a.wav", "b.wav", "in/a.wav", "in/c d.wav", "in/to/a.wav"],
    "**/a.wav": ["a.wav", "in/a.wav", "in/to/a.wav"],
    "in/**/a.wav": ["in/a.wav", "in/to/a.wav"],
    "**/to/*": ["in/to/a.wav", "in/to/b.txt"],
    "in/**": ["in/a.wav", "in/c d.wav", "in/to/a.wav", "in/to/b.txt"],
    ".*/*.wav": [".hidden/a.wav"],
    "i*": [],
    "no/*": [],
}


@pytest.fixture
def tree(store_place):
    fill(
        store_place,
        "a.wav",
        "b.wav",
        ".c.wav",
        "in/a.wav",
        "in/c d.wav",
        "in/to/a.wav",
        "in/to/b.txt",
        ".hidden/a.wav",
    )
    return store_place


def test_a_pattern_gives_objects_in_the_order_of_names(tree):
    store, base = tree
    assert {pattern: names(tree, store.glob(f"{base}/{pattern}")) for pattern in PATTERNS} == PATTERNS
    assert next(store.glob(f"{base}/*.wav")) == store.stat(f"{base}/a.wav")


def test_a_range_is_exact_and_of_one_version(store_place):
    store, base = store_place
    content = os.urandom(100_000)
    uri = join(base, "a.bin")
    store.put(uri, content)
    version = store.stat(uri).version
    for start, size in [(0, 1), (0, 100_000), (99_999, 1), (1234, 50_000)]:
        assert store.read_range(uri, start, size, version) == content[start : start + size]
    for start, size in [(99_999, 2), (100_000, 1), (200_000, 10)]:
        with pytest.raises(ChangedError):
            store.read_range(uri, start, size, version)
    store.put(uri, content[:-1])
    with pytest.raises(ChangedError, match=r"a\.bin"):
        store.read_range(uri, 0, 10, version)
    assert store.read_range(uri, 0, 10, store.stat(uri).version) == content[:10]


def test_deleting_what_is_missing_is_no_error(store_place):
    store, base = store_place
    fill(store_place, "a", "b")
    for name in ("a", "a", "no/folder"):
        store.delete(join(base, name))
    assert names(store_place, store.list(base)) == ["b"]


def test_a_sweep_takes_nothing_that_is_whole(store_place):
    store, base = store_place
    fill(store_place, "a", "b/c")
    store.sweep(base)
    store.sweep(join(base, "no"))
    assert names(store_place, store.list(base)) == ["a", "b/c"]


def test_a_store_can_be_sent_to_a_worker_and_holds_no_secret(store_place):
    store, base = store_place
    sent = pickle.dumps(store)
    assert b"secret" not in sent.lower()
    pickle.loads(sent).put(join(base, "a"), b"content")
    assert store.read(join(base, "a")) == b"content"
    assert len(pickle.dumps(store)) == len(sent)


def test_ffmpeg_reads_a_recording_of_the_store_as_it_reads_a_file(store_place, tmp_path):
    store, base = store_place
    sample = max(SAMPLES.glob("*.mp4"))
    whole = tmp_path / "index at the end.mp4"
    ffmpeg("-i", f"file:{sample}", "-c", "copy", str(whole))
    for path in (sample, whole):
        store.put_file(join(base, KEY, path.name), path)
        with store.open_media(store.stat(join(base, KEY, path.name))) as media:
            decoded = pcm(media.url, media.protocols)
        assert media.error is None
        assert len(decoded) > 100_000
        assert decoded == pcm(f"file:{path}", "file")


def pcm(url: str, protocols: str) -> bytes:
    return ffmpeg(
        "-protocol_whitelist", f"pipe,{protocols}", "-i", url, "-vn", "-ar", "16000", "-f", "s16le", "pipe:1"
    )


def ffmpeg(*flags: str) -> bytes:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", *flags]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def test_a_recording_that_was_replaced_is_not_taken_for_the_one_that_was_listed(store_place):
    store, base = store_place
    sample = max(SAMPLES.glob("*.mp4")).read_bytes()
    store.put(join(base, "a.mp4"), sample)
    entry = store.stat(join(base, "a.mp4"))
    store.put(join(base, "a.mp4"), sample + b"more")
    with store.open_media(entry) as media:
        if media.protocols == "file":
            pytest.skip("ffmpeg opens local files itself")
        with pytest.raises(subprocess.CalledProcessError):
            pcm(media.url, media.protocols)
    assert isinstance(media.error, ChangedError)
