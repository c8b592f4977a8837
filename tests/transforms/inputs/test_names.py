"""No id of a recording leads its files out of the output, or into each other's way."""

from __future__ import annotations

import dataclasses
import itertools
import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.inputs.identity import named
from transforms.inputs.listing import media_id
from transforms.inputs.names import FOLDER, file_name, is_below, with_folders
from transforms.records import DeadLetter, MediaFile, to_plain
from transforms.save_media import FORMATS
from transforms.storage import Store, Stores, join
from transforms.work.store import WorkStore, file_of, json_bytes, name_key

BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
REMARKABLE = f"../\\\0:*?|<>~%#@ab\"'{BLANKS}\u200b\u200d\ufeff\u202e\u2066\x1b\x9f"
TWINS = "éÉßſıKKＡ" + unicodedata.normalize("NFD", "éÉ")
SURROGATES = "\udcc3\udca9\udcc2\udca0\udc85\udcae\ud800\udfff"
PIECES = [
    "..", ".. ", "..\u00a0", ".\u2003.", "...", "~", "~root", "CON", "nul.txt", "aux", "COM1.mp3", "media", "a", "A",
    "a.en", "a.srt", "a~01234567", "talk.mp3", "talk.MP3", "talk.mp4", "x" * 300, "न" * 120, "s3://b@c",
    "C:", "\\\\host", "",
]  # fmt: skip
IDS = st.one_of(
    st.text(st.sampled_from(REMARKABLE + TWINS + SURROGATES), max_size=12),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), min_size=1, max_size=6).map("/".join),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("".join),
)
ENDINGS = [*FORMATS, "opus", *(f"{language}.{kind}" for language in ("en", "hin") for kind in ("srt", "vtt", "txt"))]
OUTPUTS = ["/data/out", "s3://bucket/out", "s3://r2@bucket", "gs://bucket/out"]


def media(number: int, name: str) -> MediaFile:
    uri = f"/in{number}/{name}"
    return MediaFile(media_id(uri), name, uri, "v")


def listed(ids: list[str]) -> list[MediaFile]:
    return [media(number, each) for number, each in enumerate(ids)]


def names_of(ids: list[str]) -> list[MediaFile]:
    """Media of these ids, each from an input of its own, as the step names them."""
    found = list(named(listed(ids)))
    assert all(isinstance(each, MediaFile) for each in found)
    return found


def as_careless_systems_read(file: str) -> str:
    """The file as one that tells neither case nor normal forms nor blanks and dots at the end of a folder apart."""
    *folders, last = unicodedata.normalize("NFC", unicodedata.normalize("NFD", file).casefold()).split("/")
    return "/".join([*(folder.rstrip(". ") for folder in folders), last])


@settings(max_examples=500, deadline=None, database=None)
@given(IDS, st.sampled_from(OUTPUTS))
def test_no_file_of_a_recording_lies_outside_the_output(name, output):
    [found] = names_of([name])
    store: Store = Stores().serving(output)
    root = store.canonical(output)
    for ending in ENDINGS:
        file = file_of(found, ending)
        uri = join(root, file)
        parts = uri[len(root) :].split("/")[1:]
        assert is_below(file)
        assert store.canonical(uri) == uri  # nothing in it leads up, or is dropped
        assert parts[0] == FOLDER
        assert len(parts) > 1
        assert all(part.strip(". \t\u00a0") and part.strip() not in (".", "..") for part in parts)
        assert not set(file) & {chr(code) for code in (*range(32), 127)} | set(file) & set('\\:*?"<>|')
        assert not any(part.split(".")[0].strip().upper() in ("CON", "PRN", "AUX", "NUL", "COM1") for part in parts)
        assert all(len(part.encode()) <= 255 for part in parts)
        assert len(file.encode()) <= 900


@settings(max_examples=500, deadline=None, database=None)
@given(st.lists(IDS, min_size=2, max_size=5))
def test_no_two_media_write_one_file_or_have_one_id(ids):
    found = names_of(ids)
    files = [{as_careless_systems_read(file_of(each, ending)) for ending in ENDINGS} for each in found]
    assert not any(one & other for one, other in itertools.combinations(files, 2))
    folders = {str(file).rpartition("/")[0] for each in files for file in each}
    assert not folders & set().union(*files)  # nor is a file where another needs a folder
    assert len({each.id for each in found}) == len(ids)
    assert sorted(found) == sorted(named(reversed(listed(ids))))


@pytest.mark.parametrize(
    "file",
    ["../x", "media/../x", "media/../../x", "media", "media/", "x", "/media/x", "media//x", "media/.. /x", "media/.",
     "media/..\u00a0", "media/a\0b", "media/..\\x", "run.json", "_work/saved/x", ""],
)  # fmt: skip
def test_what_leads_elsewhere_is_not_below(file):
    assert not is_below(file)
    assert is_below("media/a") and is_below("media/a/b.en.srt") and is_below("media/..a")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "", ".."])
def test_a_bad_name_that_comes_from_anywhere_is_refused_where_files_get_their_place(name):
    bad = MediaFile("m", "m", "/m", "v", name=f"{name}/")
    with pytest.raises(OSError, match="not a name below the output"):
        file_of(bad, "srt")


def test_a_damaged_note_of_files_names_none_outside(tmp_path):
    work = WorkStore(str(tmp_path), "asr", "saved")
    note = {
        "media": to_plain(MediaFile("m", "m", "/m", "v")),
        "files": ["../../x", "media/a.srt", "/etc/passwd", "run.json"],
    }
    work.store.put(f"{tmp_path}/_work/saved/{name_key('a')}/s.json", json_bytes(note))
    assert work.saved_note(name_key("a"), "s").files == ("media/a.srt",)


def test_the_id_of_a_recording_that_is_not_alone_is_told_apart_by_its_folders():
    uris = ["/c/day1/clip.mp3", "/c/day2/clip.mp3", "/d/day2/clip.mp3", "s3://r2@b/clip.mp3", "gs://b/x.bin"]
    assert list(with_folders("clip.mp3", uris).values()) == [
        "day1/clip.mp3", "c/day2/clip.mp3", "d/day2/clip.mp3", "b/clip.mp3", "clip.mp3"
    ]  # fmt: skip


def test_equal_ids_of_a_manifest_get_a_part_of_what_is_their_own():
    one, other = (MediaFile(media_id(uri), "take 1", uri, "v") for uri in ("/a.mp3", "/b.mp3"))
    gone = DeadLetter(MediaFile(media_id("/c.mp3"), "take 1", "/c.mp3", ""), "CollectMedia", "missing", "")
    found = {each.media.id if isinstance(each, DeadLetter) else each.id for each in named([one, other, gone])}
    assert found == {f"take 1~{media_id(uri)[:8]}" for uri in ("/a.mp3", "/b.mp3", "/c.mp3")}


def test_who_has_a_name_keeps_it_when_another_of_the_name_comes(tmp_path):
    work = dataclasses.replace(WorkStore(str(tmp_path), "asr", "saved"), run="r1")
    first, later = (MediaFile(media_id(uri), uri[4:], uri, "v") for uri in ("/in/a.mp4", "/in/a.mp3"))
    same = MediaFile(media_id("/in2/a.mp4"), "a.mp4", "/in2/a.mp4", "v")
    assert {each.name for each in named([first, later], work)} == {
        f"a~{first.media_id[:8]}",
        f"a~{later.media_id[:8]}",
    }
    work.commit_saved(first._replace(name="a"), ["media/a.srt"], complete=True)
    work = dataclasses.replace(work, run="r2")
    assert [(each.id, each.name) for each in named([later, first, same], work)] == [
        (each.id, each.name)
        for each in sorted(
            [
                first._replace(name="a"),
                later._replace(name=f"a~{later.media_id[:8]}"),
                same._replace(id="in2/a.mp4", name="in2/a"),
            ],
            key=lambda each: {"a.mp4": 1, "a.mp3": 0}.get(each.id, 2),
        )
    ]


@pytest.mark.parametrize(
    ("media", "name"),
    [
        ("talk.mp3", "talk"),
        ("a/b.c.MP4", "a/b.c"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/x.mp3", "etc/x"),
        ("a/./../b//c.mp3", "a/b/c"),
        ("..\\..\\windows\\a.mp3", "windows/a"),
        ("a\x00b\nc\x7f.mp3", "a_b_c_"),
        ('a<>:"|?*.mp3', "a_______"),
        ("C:/x.mp3", "C_/x"),
        ("no suffix", "no suffix"),
        ("clip.v2", "clip.v2"),
        ("mp3", "mp3"),
        ("आवाज़.opus", "आवाज़"),
        ("https://host/a b.mp3", "https_/host/a b"),
        ("", "media"),
        ("../..", "media"),
    ],
)
def test_a_file_name_is_relative_and_safe(media, name):
    assert file_name(media) == name


@pytest.mark.parametrize(
    "media",
    ["x" * 300 + ".mp3", "न" * 300 + ".mp3", "x" * 300 + "/" + "y" * 300, os.fsdecode(b"\xe9" * 140 + b".mp3")],
    ids=["ascii", "devanagari", "folder", "no_utf8"],
)
def test_no_part_of_a_file_name_is_too_long_to_take_suffixes(media):
    name = file_name(media)
    assert all(len(part.encode()) <= 200 for part in name.split("/"))


def test_long_names_that_start_alike_stay_different():
    assert file_name("x" * 300 + "1.mp3") != file_name("x" * 300 + "2.mp3")
