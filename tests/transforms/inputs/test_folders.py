"""What of a folder is a recording: neither litter, nor a download under way, nor what a run wrote."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest

from tests.conftest import media_of
from transforms.collect_media import CollectMedia
from transforms.inputs.folders import Search, Skipped, Tally, is_text, skipped_in_words
from transforms.inputs.listing import Inputs, list_input, list_inputs
from transforms.media.suffixes import MEDIA, TEXTS_TOO
from transforms.records import DeadLetter, MediaFile
from transforms.storage import Stores, join
from transforms.work.store import WorkStore, json_bytes

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 48219\n"
PACKET = b"\x47\x40\x00\x10\x00" + b"\xff" * 183
TYPESCRIPT = "export const answer = 42; // उत्तर\n".encode() * 40


@pytest.fixture(params=["local", "moto"])
def place(request, tmp_path):
    """A store and an empty place in it."""
    if request.param == "local":
        return Stores().serving(str(tmp_path)), str(tmp_path / "in")
    store, base = request.getfixturevalue("moto_place")
    return store, f"{base}/in"


def fill(place, *names: str, content: bytes = b"\0audio"):
    store, base = place
    for name in names:
        store.put(join(base, name), content)


def stores_of(place) -> Stores:
    profile = getattr(place[0], "profile", None)
    return Stores((profile,) if profile else ())


def listed(place, *, pattern: str = "", suffixes: tuple[str, ...] = (), output: str | None = None):
    """The ids of what is taken, the codes of letters by id, and (reason, name) of what is skipped."""
    stores = stores_of(place)
    work = WorkStore(output, "asr", "saved", stores=stores) if output else None
    search = Search(stores, MEDIA.union(suffixes), work)
    found = list(list_input(join(place[1], pattern) if pattern else place[1], stores, search))
    taken = [each.id for each in found if isinstance(each, MediaFile)]
    letters = {each.media.id: each.code for each in found if isinstance(each, DeadLetter)}
    return taken, letters, {(each.reason, each.name) for each in found if isinstance(each, Skipped)}


LITTER = {
    "._a.mp3": "apple_double",
    "__MACOSX/a.mp3": "apple_double",
    "sub/@eaDir/a.mp3/thumb.mp4": "system",
    "#snapshot/monday/a.mp3": "system",
    "System Volume Information/a.mp3": "system",
    ".Trash/a.mp3": "trash",
    ".Trash-1000/files/a.mp3": "trash",
    ".Trashes/501/a.mp3": "trash",
    "$RECYCLE.BIN/S-1-5/a.mp3": "trash",
    "#recycle/a.mp3": "trash",
    ".git/annex/objects/a.mp3": "version_control",
    "site/node_modules/lib/beep.mp3": "packages",
    ".a.mp3": "hidden",
    ".cache/a.mp3": "hidden",
    "b.mp3.part": "in_progress",
    "c.webm.crdownload": "in_progress",
    "d.mp3.download/d.mp3": "in_progress",
    "e.mp3.aria2": "in_progress",
    "e.mp3": "in_progress",  # which aria2 has beside its own file
    "Voice 001": "not_by_suffix",
    "notes.TXT": "not_by_suffix",
}


def test_litter_is_passed_over_each_with_its_reason(place):
    fill(place, "a.mp3", "e.mp3 (1).mp3", "node_modules.mp3", "git/a.mp3", *LITTER)
    fill(place, ".git/objects/ab/cd", "node_modules/lib/index.js", "@eaDir/x", ".DS_Store")  # of which nobody is told
    taken, letters, skipped = listed(place)
    assert taken == ["a.mp3", "e.mp3 (1).mp3", "git/a.mp3", "node_modules.mp3"]
    assert letters == {}
    assert skipped == {(reason, name) for name, reason in LITTER.items()}


def test_the_pieces_of_a_video_that_is_being_fetched_wait_until_it_is_whole(place):
    pieces = ["song.f137.mp4", "song.f251.webm", "song.f251.webm.part", "song.f251.webm.ytdl"]
    fill(place, "other.f137.mp4", "song.flac", "song.final.mp3", "song.mp3", *pieces)
    taken, _, skipped = listed(place)
    assert taken == ["other.f137.mp4", "song.final.mp3", "song.flac", "song.mp3"]
    assert skipped == {("in_progress", name) for name in pieces}


@pytest.mark.parametrize("suffix", sorted(TEXTS_TOO))
def test_a_text_under_the_suffix_of_a_recording_is_none(place, suffix):
    fill(place, f"text{suffix}", f"types.d{suffix}", content=TYPESCRIPT)
    fill(place, f"video{suffix}", content=PACKET * 4)
    fill(place, f"lost{suffix}", content=b"\0" * 3000)
    fill(place, f"empty{suffix}", content=b"")
    taken, letters, skipped = listed(place)
    assert taken == [f"empty{suffix}", f"lost{suffix}", f"video{suffix}"]
    assert letters == {}
    assert skipped == {("other_content", f"text{suffix}"), ("other_content", f"types.d{suffix}")}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"import x", True),
        ("क".encode() * 341 + b"\xe0\xa4"[:1], True),  # a character that is cut off
        ('<?xml version="1.0" encoding="utf-16"?>'.encode("utf-16"), True),
        (PACKET, False),
        (b"\0\0\0\x10" + PACKET, False),
        (b"\0\0\x01\xba", False),
        (b"caf\xe9 " * 20, False),
    ],
)
def test_a_text_is_told_from_a_recording_by_its_first_bytes(head, expected):
    assert is_text(head) is expected


def test_a_pattern_takes_any_suffix_that_it_names_and_no_litter(place):
    fill(place, "a.mp3", "b.xyz", "x/._c.mp3", "@eaDir/a.mp3", ".Trash-1/d.mp3", ".own/e.mp3", "f.ts")
    fill(place, "g.ts", content=TYPESCRIPT)
    assert listed(place, pattern="*.xyz")[0] == ["b.xyz"]
    assert listed(place, pattern="**/*.mp3")[0] == ["a.mp3"]
    assert listed(place, pattern=".own/*.mp3")[0] == ["e.mp3"]
    assert listed(place, pattern="*.ts")[::2] == (["f.ts"], {("other_content", "g.ts")})
    assert listed(place, pattern="*")[2] == {("not_by_suffix", "b.xyz"), ("other_content", "g.ts")}


def test_suffixes_are_added_and_a_dot_alone_is_none(place):
    fill(place, "a.mp3", "b.XYZ", "Voice 001", "c.txt")
    assert listed(place, suffixes=(".xyz",))[0] == ["a.mp3", "b.XYZ"]
    assert listed(place, suffixes=("",))[0] == ["Voice 001", "a.mp3"]


def test_a_file_that_is_named_by_itself_is_taken_whatever_its_name(place):
    for name in ("._a.mp3", "e.mp3.part", ".git/a.mp3", "notes.md", "x.ts"):
        fill(place, name, content=TYPESCRIPT)
        assert listed(place, pattern=name) == ([name.rpartition("/")[2]], {}, set())


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("a.mp3", LFS, "a pointer to 48219 bytes of Git LFS: run `git lfs pull`"),
        ("a.mp3", b"/annex/objects/SHA256E-s48219--0f3a.mp3\n", "run `git annex get`"),
        (".a.mp3.icloud", b"bplist00\xd3", "iCloud Drive"),
    ],
)
def test_a_pointer_is_a_letter_that_says_how_to_fetch_the_recording(place, name, content, advice):
    fill(place, name, content=content)
    for given in (place[1], join(place[1], name)):
        [letter] = list_input(given, stores_of(place))
        assert (letter.code, letter.retryable, letter.media.id) == ("not_fetched", True, name)
        assert advice in letter.detail


def test_links_to_nothing_and_to_folders_are_told_of(tmp_path):
    place = Stores().serving(str(tmp_path)), str(tmp_path / "in")
    fill(place, "a.mp3", "elsewhere/b.mp3")
    root = tmp_path / "in"
    for name, target in (
        ("annexed.mp3", ".git/annex/objects/Wq/7x/SHA256E-s48219--0f3a.mp3"),
        ("gone.mp3", "nowhere"),
        ("gone.txt", "nowhere"),
        ("loop.mp3", "loop.mp3"),
        ("season", "elsewhere"),
        ("up", "."),
        ("to a.mp3", "a.mp3"),
        (".hidden", "elsewhere"),
    ):
        (root / name).symlink_to(target)
    taken, letters, skipped = listed(place)
    assert taken == ["a.mp3", "elsewhere/b.mp3", "to a.mp3"]
    assert letters == {"annexed.mp3": "not_fetched", "gone.mp3": "broken_link", "loop.mp3": "broken_link"}
    folders = {("linked_folder", "season"), ("linked_folder", "up")}
    assert skipped == {*folders, ("not_by_suffix", "gone.txt")}
    # A pattern does not go round through a link that leads up.
    assert listed(place, pattern="**/*.mp3") == (taken, letters, set())
    assert listed(place, pattern="*")[1:] == (letters, skipped)
    assert listed(place, pattern="season/*.mp3")[0] == ["b.mp3"]
    assert listed(place, pattern="gone.mp3")[1] == {str(root / "gone.mp3"): "broken_link"}
    manifest = pathlib.Path(tmp_path, "m.txt")
    manifest.write_text("in/annexed.mp3\nin/a.mp3\n")
    codes = [getattr(each, "code", "") for each in list_input(str(manifest), Stores())]
    assert codes == ["not_fetched", ""]


def ran(place, output: str, *kept: str) -> None:
    """Leave in the place what a run leaves that kept the audio of media of these names."""
    store, base = place
    fill(place, join(output, "run.json"), join(output, "summary.json"), content=b"{}\n")
    work = WorkStore(store.canonical(join(base, output)) if output else base, "a", "s", stores=stores_of(place))
    for name in kept:
        files = [f"media/{name}.{kind}" for kind in ("opus", "srt")]
        fill(place, *(join(output, file) if output else file for file in files))
        work.commit_saved(media_of(pathlib.Path(f"{name}.mp3"), name=name), files, complete=True)


def test_what_a_run_wrote_below_the_input_is_never_input(place):
    fill(place, "a.mp3", "out/media/mine.opus", "_work/b.mp3", "media/c.opus", "out/transcripts/x.parquet")
    ran(place, "out", "a", "sub/b")
    mine = {"a.mp3", "_work/b.mp3", "media/c.opus"}  # nobody's output is there
    own = {"out/media/a.opus", "out/media/sub/b.opus"}
    assert set(listed(place)[0]) == {*mine, "out/media/mine.opus"}
    assert listed(place)[2] >= {("output", name) for name in own}
    taken, _, skipped = listed(place, output=join(place[1], "out"))
    assert set(taken) == mine
    assert skipped == {("output", name) for name in {*own, "out/media/mine.opus"}}
    assert set(listed(place, pattern="**/*.opus")[0]) == {"media/c.opus", "out/media/mine.opus"}


def test_nor_where_the_output_is_the_input_or_around_it(place):
    fill(place, "a.mp3", "media/talk.opus", "media/talk.mp3")
    fill(place, "_work/asr/x.json", "transcripts/x.parquet", content=b"{}")
    ran(place, ".", "a")
    store, base = place
    for entry in list(store.list(join(base, "."))):  # of keys of a bucket "." is a name like any other
        if "/./" in entry.uri:
            store.put(entry.uri.replace("/./", "/"), store.read(entry.uri))
            store.delete(entry.uri)
    taken, _, skipped = listed(place, output=base)
    assert (set(taken), skipped) == ({"a.mp3", "media/talk.opus", "media/talk.mp3"}, {("output", "media/a.opus")})
    inner = (store, join(base, "media"))
    assert set(listed(inner, output=base)[0]) == {"talk.opus", "talk.mp3"}
    assert set(listed(inner)[0]) == {"a.opus", "talk.opus", "talk.mp3"}  # named by itself, by another run


def test_the_counts_are_kept_for_the_run_alone_and_the_same_when_listed_again(place):
    stores = stores_of(place)
    work = WorkStore(f"{place[1]}/out", "asr", "saved", stores=stores, run="r1")
    fill(place, "a.mp3", "b.txt", "._a.mp3")
    for _ in range(2):
        step = CollectMedia(Inputs((place[1],), stores, work))
        from transforms.collect_media import ListInputs

        lister = ListInputs(step.inputs, step.watch)
        lister.setup()
        assert [each.id for each in lister.process(b"")] == ["a.mp3"]
    assert work.skipped() == {
        "skipped": {"apple_double": 1, "not_by_suffix": 1},
        "skipped_suffixes": {".txt": 1},
    }
    assert dataclasses.replace(work, run="r2").skipped() == {"skipped": {}, "skipped_suffixes": {}}


def test_a_million_odd_suffixes_are_counted_in_few_words():
    tally = Tally()
    for number in range(1000):
        tally.add(Skipped("not_by_suffix", f"a.{number}"))
    tally.add(Skipped("not_by_suffix", "a." + "x" * 100))
    tally.add(Skipped("not_by_suffix", "a.\x1b[2J"))
    for number in range(5):
        tally.add(Skipped("hidden", f".{number}.mp3"))
    figures = tally.figures()
    assert figures["skipped"] == {"not_by_suffix": 1002, "hidden": 5}
    assert len(figures["skipped_suffixes"]) <= 41
    assert sum(figures["skipped_suffixes"].values()) == 1002
    assert tally.words().startswith("5 hidden (.0.mp3, .1.mp3, .2.mp3, …), 1002 not_by_suffix (")
    assert skipped_in_words({}) == ""


def test_a_folder_that_may_not_be_entered_is_told_of_behind_everything_else(tmp_path, monkeypatch):
    place = Stores().serving(str(tmp_path)), str(tmp_path)
    fill(place, "a.mp3", "locked/b.mp3", "z.ts")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert listed(place)[:2] == (["a.mp3", "z.ts"], {str(tmp_path): "unreadable"})
    assert listed(place, pattern="**/*.mp3")[:2] == (["a.mp3"], {f"{tmp_path}/**/*.mp3": "unreadable"})


def test_listing_all_inputs_gives_what_each_gives(place):
    fill(place, "a.mp3", "b.txt")
    found = list(list_inputs(b"", Inputs((place[1], join(place[1], "a.mp3")), stores_of(place))))
    assert [getattr(each, "id", "") for each in found] == ["a.mp3", "", "a.mp3"]
    assert json_bytes({"a": 1}) == b'{"a": 1}\n'
