"""The local store: an object appears whole or not at all, and listings are sorted."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from transforms.storage import ChangedError, Entry, StorageError, Stores, join
from transforms.storage.local import LocalStore

STORE = LocalStore()


def fill(folder: pathlib.Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def names(entries, folder: pathlib.Path) -> list[str]:
    return [pathlib.Path(entry.uri).relative_to(folder).as_posix() for entry in entries]


def test_put_makes_folders_and_replaces(tmp_path):
    place = str(tmp_path / "a" / "b" / "c.json")
    STORE.put(place, b"first")
    STORE.put(place, b"second")
    assert STORE.read(place) == b"second"
    assert names(STORE.list(str(tmp_path)), tmp_path) == ["a/b/c.json"]


def test_put_file_copies_and_leaves_the_file(tmp_path):
    fill(tmp_path, "from.bin")
    STORE.put_file(str(tmp_path / "to" / "x.bin"), tmp_path / "from.bin")
    assert STORE.read(str(tmp_path / "to" / "x.bin")) == (tmp_path / "from.bin").read_bytes() == b"from.bin"


def half_written(self, data):
    with self.open("wb") as out:
        out.write(data[:2])
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_put_that_fails_leaves_what_was_there(tmp_path, monkeypatch, before):
    place = tmp_path / "x.json"
    if before:
        place.write_bytes(before)
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_bytes", half_written)
        with pytest.raises(OSError, match="No space left"):
            STORE.put(str(place), b"content")
    assert [path.name for path in tmp_path.iterdir()] == (["x.json"] if before else [])
    assert not before or place.read_bytes() == before


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def broken(source, target):
        pathlib.Path(target).write_bytes(b"ha")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "copyfile", broken)
    with pytest.raises(OSError, match="Input/output"):
        STORE.put_file(str(tmp_path / "x.bin"), tmp_path / "from")
    assert list(tmp_path.iterdir()) == []


def test_a_put_onto_a_folder_fails_and_leaves_no_temporary_file(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(OSError):
        STORE.put(str(tmp_path / "x.json"), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_listing_is_recursive_and_sorted_by_name(tmp_path):
    fill(tmp_path, "b.txt", "a/z.txt", "a/b/c.txt", "c/a.txt", "a.txt", "B.txt")
    listed = names(STORE.list(str(tmp_path)), tmp_path)
    assert listed == sorted(["b.txt", "a/z.txt", "a/b/c.txt", "c/a.txt", "a.txt", "B.txt"])
    assert listed == names(STORE.list(f"{tmp_path}/"), tmp_path)


def test_a_listing_of_nothing_is_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    assert list(STORE.list(str(tmp_path / "empty"))) == []
    assert list(STORE.list(str(tmp_path / "gone"))) == []


def test_links_that_loop_or_lead_nowhere_neither_hang_nor_break_a_listing(tmp_path):
    fill(tmp_path, "in/a.txt")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    (tmp_path / "in" / "self.txt").symlink_to(tmp_path / "in" / "self.txt")
    (tmp_path / "in" / "dangling.txt").symlink_to(tmp_path / "gone.txt")
    assert names(STORE.list(str(tmp_path)), tmp_path) == ["in/a.txt"]


def test_a_link_to_a_file_is_listed_with_the_size_of_the_file(tmp_path):
    fill(tmp_path, "a.txt")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.txt").symlink_to(tmp_path / "a.txt")
    [entry] = STORE.list(str(tmp_path / "in"))
    assert (pathlib.Path(entry.uri).name, entry.size_bytes) == ("link.txt", 5)


def test_a_pattern_gives_sorted_files_and_no_folders(tmp_path):
    fill(tmp_path, "b.txt", "a.txt", "c/d.txt", "e.txt/f.txt")
    assert names(STORE.glob(f"{tmp_path}/*.txt"), tmp_path) == ["a.txt", "b.txt"]
    assert names(STORE.glob(f"{tmp_path}/**/*.txt"), tmp_path) == ["a.txt", "b.txt", "c/d.txt", "e.txt/f.txt"]


def test_the_version_changes_with_the_content(tmp_path):
    place = tmp_path / "a.txt"
    place.write_bytes(b"one")
    os.utime(place, ns=(1, 1))
    first = STORE.stat(str(place))
    os.utime(place, ns=(2, 2))
    second = STORE.stat(str(place))
    place.write_bytes(b"three")
    os.utime(place, ns=(2, 2))
    assert len({first.version, second.version, STORE.stat(str(place)).version}) == 3
    assert first.size_bytes == 3


@pytest.mark.parametrize("name", ["gone.txt", "a.txt/below", "gone/a.txt"])
def test_what_is_missing_has_no_stat_and_cannot_be_read(tmp_path, name):
    fill(tmp_path, "a.txt")
    assert STORE.stat(str(tmp_path / name)) is None
    assert STORE.is_folder(str(tmp_path / name)) is False
    with pytest.raises((FileNotFoundError, NotADirectoryError)):
        STORE.read(str(tmp_path / name))


def test_deleting_what_is_missing_is_no_error(tmp_path):
    fill(tmp_path, "a.txt")
    STORE.delete(str(tmp_path / "a.txt"))
    STORE.delete(str(tmp_path / "a.txt"))
    STORE.delete(str(tmp_path / "no" / "folder.txt"))
    assert list(tmp_path.iterdir()) == []


def test_one_place_has_one_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    spellings = ["a.txt", "./a.txt", "b/../a.txt", "~/a.txt", f"{tmp_path}//a.txt", f"file://{tmp_path}/a.txt"]
    assert {STORE.canonical(each) for each in spellings} == {str(tmp_path / "a.txt")}


def test_a_range_is_exact_and_of_one_version(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(100)))
    place = str(tmp_path / "a.bin")
    version = STORE.stat(place).version
    assert STORE.read_range(place, 10, 5, version) == bytes(range(10, 15))
    with pytest.raises(ChangedError):
        STORE.read_range(place, 98, 5, version)
    (tmp_path / "a.bin").write_bytes(bytes(range(99)))
    with pytest.raises(ChangedError):
        STORE.read_range(place, 10, 5, version)


@pytest.mark.parametrize("links", [True, False])
def test_of_many_who_put_a_new_object_one_does(tmp_path, monkeypatch, links):
    def refused(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refused)
    place = str(tmp_path / "a" / "new.json")
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: STORE.put_new(place, b"%d" % number), range(8)))
    assert sum(done) == 1
    assert STORE.read(place) == b"%d" % done.index(True)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new.json"]


def test_a_sweep_takes_what_killed_writers_left_and_nothing_else(tmp_path):
    left = f".tmp-{'0123456789abcdef' * 2}"
    fill(tmp_path, "a.json", f"b/{left}", left, "b/.tmp-notes", "b/c.json")
    STORE.sweep(str(tmp_path))
    assert names(STORE.list(str(tmp_path)), tmp_path) == ["a.json", "b/.tmp-notes", "b/c.json"]


def test_a_decoder_reads_the_file_itself(tmp_path):
    fill(tmp_path, "a.txt")
    with STORE.open_media(STORE.stat(f"file://{tmp_path}/a.txt")) as source:
        assert (source.url, source.protocols, source.error) == (f"file:{tmp_path}/a.txt", "file", None)
    assert (tmp_path / "a.txt").exists()


def test_what_cannot_be_opened_says_so_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp3")
    for name, error in (("gone.mp3", FileNotFoundError), ("pipe.mp3", OSError)):
        with pytest.raises(error), STORE.open_media(Entry(str(tmp_path / name), 1, "")):
            pass


@pytest.mark.parametrize("uri", ["a", "/a/b", "~/a", "file:///a", "C:\\a", "a:b"])
def test_plain_paths_are_local(uri):
    assert isinstance(Stores().serving(uri), LocalStore)


@pytest.mark.parametrize("uri", ["abfs://bucket/a", "https://host/a"])
def test_a_scheme_that_no_store_serves_is_refused_with_advice(uri):
    with pytest.raises(StorageError, match="copy the files"):
        Stores().serving(uri)


@pytest.mark.parametrize(
    ("place", "joined"),
    [("a", "a/b/c"), ("a/", "a/b/c"), ("/", "/b/c"), ("s3://x/", "s3://x/b/c")],
)
def test_join_puts_one_slash_between(place, joined):
    assert join(place, "b", "c") == joined
