"""CollectMedia: every form of input gives each recording once, under a name of its own, or a dead letter."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pathlib
import unicodedata

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing import test_pipeline
from apache_beam.testing.util import assert_that, equal_to

from transforms.collect_media import CollectMedia
from transforms.inputs.folders import Skipped
from transforms.inputs.identity import deduplicate
from transforms.inputs.listing import Inputs, list_input, media_id
from transforms.records import DeadLetter, MediaFile
from transforms.storage import Stores
from transforms.storage.local import LocalStore
from transforms.work.store import source_id

ODD_NAMES = [
    "a[1].mp3",
    "a*.mp3",
    "a?.mp3",
    "two words.mp3",
    'it\'s "quoted".mp3',
    "two\nlines.mp3",
    "आवाज़.mp3",
    "-i.mp3",
    "100%d.mp3",
    "a:b.mp3",
]
MANIFESTS = [".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".m3u", ".m3u8", ".parquet"]


def put(path: pathlib.Path, content: bytes = b"audio") -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def listed(*values: object) -> list[MediaFile | DeadLetter]:
    found = [found for value in values for found in list_input(str(value), Stores())]
    return [each for each in found if not isinstance(each, Skipped)]


def ids(*values: object) -> list[str]:
    found = listed(*values)
    assert all(isinstance(each, MediaFile) for each in found), found
    return [each.id for each in found]


def letters(*values: object) -> list[tuple[str, str]]:
    """(code, media id) of the dead letters among what the values list."""
    return [(each.code, each.media.id) for each in listed(*values) if isinstance(each, DeadLetter)]


def write_manifest(path: pathlib.Path, rows: list[dict[str, object]]) -> pathlib.Path:
    """The rows as a manifest of the kind that the suffix says; a .txt keeps the paths alone."""
    if path.suffix in (".txt", ".m3u", ".m3u8"):
        path.write_text("".join(f"{row['path']}\n" for row in rows))
    elif path.suffix in (".json", ".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


SEEN: list[MediaFile | DeadLetter] = []


def see(found):
    """A module's own function is pickled by name, so what it sees stays in this process."""
    SEEN.append(found)


def collected(*values: object) -> list[tuple[str, str]]:
    """(name of the recording, name that its files get) as the whole step gives them; ("", code) for a dead letter."""
    SEEN.clear()
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        pipeline | CollectMedia(Inputs(tuple(map(str, values)))) | beam.Map(see)
    return sorted(
        ("", each.code) if isinstance(each, DeadLetter) else (pathlib.Path(each.uri).name, each.name) for each in SEEN
    )


@contextlib.contextmanager
def without_privileges():
    """Run as a user whom permissions hold back, also when the tests run as root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_is_one_recording_with_its_size_and_its_name_as_id(tmp_path):
    path = put(tmp_path / "talk.mp3", b"12345")
    [media] = listed(path)
    assert (media.id, media.uri, media.size_bytes, media.language) == ("talk.mp3", str(path), 5, "")


def test_a_file_named_by_itself_is_taken_whatever_its_suffix(tmp_path):
    assert ids(put(tmp_path / "recording.bin")) == ["recording.bin"]


def test_a_folder_gives_its_media_recursively_with_relative_ids(tmp_path):
    for name in ("b.mp3", "deep/er/a.MP4", "notes.txt", "cover.jpg", "deep/c.opus"):
        put(tmp_path / name)
    assert sorted(ids(tmp_path)) == ["b.mp3", "deep/c.opus", "deep/er/a.MP4"]
    assert sorted(ids(f"{tmp_path}/")) == ["b.mp3", "deep/c.opus", "deep/er/a.MP4"]


def test_a_folder_with_characters_of_patterns_in_its_name_is_taken_literally(tmp_path):
    put(tmp_path / "x[1] *?" / "a.mp3")
    assert ids(tmp_path / "x[1] *?") == ["a.mp3"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp3", ["a.mp3", "b.mp3"]),
        ("?.mp3", ["a.mp3", "b.mp3"]),
        ("[a].mp3", ["a.mp3"]),
        ("**/*.mp3", ["a.mp3", "b.mp3", "sub/c.mp3"]),
        ("*/c.*", ["sub/c.mp3"]),
        # known suffixes only: d.txt is left out, and so is the folder
        ("*", ["a.mp3", "b.mp3"]),
        ("d.*", ["d.txt"]),
    ],
)
def test_a_pattern_gives_what_it_matches_with_ids_from_its_fixed_part(tmp_path, pattern, expected):
    for name in ("a.mp3", "b.mp3", "sub/c.mp3", "d.txt"):
        put(tmp_path / name)
    assert ids(tmp_path / pattern) == expected


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_exists_is_literal_whatever_characters_it_has(tmp_path, name):
    put(tmp_path / name)
    put(tmp_path / "a1.mp3")  # what "a[1].mp3" would match as a pattern
    assert ids(tmp_path / name) == [name]


def test_a_relative_name_with_a_leading_dash_is_a_file(tmp_path, monkeypatch):
    put(tmp_path / "-i.mp3")
    monkeypatch.chdir(tmp_path)
    [media] = listed("-i.mp3")
    assert media.uri == str(tmp_path / "-i.mp3")


def test_a_file_uri_and_its_path_are_the_same_media(tmp_path):
    path = put(tmp_path / "a.mp3")
    assert listed(f"file://{path}")[0].media_id == listed(path)[0].media_id


def test_a_missing_path_is_a_dead_letter_that_a_retry_may_cure(tmp_path):
    [letter] = listed(tmp_path / "gone.mp3")
    assert (letter.code, letter.step, letter.retryable) == ("missing", "CollectMedia", True)
    assert letter.media.uri == str(tmp_path / "gone.mp3")


@pytest.mark.parametrize("value", ["empty", "empty/*.mp3", "texts"])
def test_a_folder_or_pattern_without_media_is_a_dead_letter(tmp_path, value):
    (tmp_path / "empty").mkdir()
    put(tmp_path / "texts" / "notes.md")
    assert [code for code, _ in letters(tmp_path / value)] == ["no_match"]


def test_a_name_longer_than_a_file_system_takes_is_a_dead_letter(tmp_path):
    assert [code for code, _ in letters(tmp_path / ("x" * 300 + ".mp3"))] == ["missing"]


def test_a_recording_in_a_folder_that_may_not_be_entered_is_a_dead_letter(tmp_path):
    locked = put(tmp_path / "locked" / "a.mp3").parent
    locked.chmod(0)
    try:
        with without_privileges():
            found = listed(locked / "a.mp3")
    finally:
        locked.chmod(0o700)
    assert [type(each) for each in found] == [DeadLetter]


def test_a_link_to_itself_does_not_stop_the_listing_of_its_folder(tmp_path):
    put(tmp_path / "a.mp3")
    (tmp_path / "loop.mp3").symlink_to(tmp_path / "loop.mp3")
    (tmp_path / "up").symlink_to(tmp_path)
    assert [each.id for each in listed(tmp_path) if isinstance(each, MediaFile)] == ["a.mp3"]


@pytest.mark.parametrize("suffix", MANIFESTS)
def test_a_manifest_gives_its_media_with_paths_from_its_own_folder(tmp_path, suffix):
    absolute = put(tmp_path / "elsewhere" / "b.mp3")
    put(tmp_path / "lists" / "क ख.mp3")
    rows = [{"path": "क ख.mp3"}, {"path": str(absolute)}, {"path": "../elsewhere/b.mp3"}]
    found = listed(write_manifest(tmp_path / "lists" / f"m{suffix}", rows))
    assert [each.uri for each in found] == [str(tmp_path / "lists" / "क ख.mp3"), str(absolute), str(absolute)]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_may_say_id_and_language(tmp_path, suffix):
    put(tmp_path / "a.mp3")
    put(tmp_path / "b.mp3")
    rows = [{"path": "a.mp3", "id": "clip-1", "language": "hi"}, {"path": "b.mp3", "id": None, "language": None}]
    found = listed(write_manifest(tmp_path / f"m{suffix}", rows))
    assert [(each.id, each.language) for each in found] == [("clip-1", "hi"), ("b.mp3", "")]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_may_number_its_media_from_zero(tmp_path, suffix):
    put(tmp_path / "a.mp3")
    assert ids(write_manifest(tmp_path / f"m{suffix}", [{"path": "a.mp3", "id": 0}])) == ["0"]


@pytest.mark.parametrize("column", ["path", "uri", "url", "file", "audio_filepath"])
def test_the_path_column_has_one_of_several_names(tmp_path, column):
    put(tmp_path / "a.mp3")
    assert ids(write_manifest(tmp_path / "m.csv", [{column: "a.mp3"}])) == ["a.mp3"]


def test_a_manifest_may_start_with_a_byte_order_mark_and_have_blank_lines_and_crlf(tmp_path):
    put(tmp_path / "a.mp3")
    put(tmp_path / "b.mp3")
    (tmp_path / "m.txt").write_bytes("\ufeffa.mp3\r\n\r\n  \r\nb.mp3".encode())
    (tmp_path / "m.csv").write_bytes("\ufeffpath\r\na.mp3\r\nb.mp3\r\n".encode())
    assert ids(tmp_path / "m.txt") == ids(tmp_path / "m.csv") == ["a.mp3", "b.mp3"]


def test_a_csv_may_hold_a_path_with_commas_quotes_and_a_newline(tmp_path):
    name = 'a, "b"\nc.mp3'
    put(tmp_path / name)
    assert ids(write_manifest(tmp_path / "m.csv", [{"path": name}])) == [name]


def test_a_line_separator_inside_a_json_string_does_not_end_the_row(tmp_path):
    put(tmp_path / "a.mp3")
    (tmp_path / "m.jsonl").write_text('{"path": "a.mp3", "id": "one\u2028two"}\n')
    assert ids(tmp_path / "m.jsonl") == ["one\u2028two"]


@pytest.mark.parametrize("suffix", MANIFESTS)
def test_a_missing_media_of_a_manifest_is_a_dead_letter_and_the_others_live(tmp_path, suffix):
    put(tmp_path / "a.mp3")
    (tmp_path / "folder").mkdir()
    manifest = write_manifest(tmp_path / f"m{suffix}", [{"path": p} for p in ("gone.mp3", "a.mp3", "folder")])
    assert letters(manifest) == [("missing", "gone.mp3"), ("missing", "folder")]
    assert [each.id for each in listed(manifest) if isinstance(each, MediaFile)] == ["a.mp3"]


@pytest.mark.parametrize(
    "bad",
    ['{"path": ""}', '{"id": "x"}', '{"path": "b.mp3", "language": "Klingon"}', '{"path": "b.m', '["b.mp3"]'],
)
def test_a_bad_row_is_a_dead_letter_and_the_others_live(tmp_path, bad):
    put(tmp_path / "a.mp3")
    put(tmp_path / "b.mp3")
    (tmp_path / "m.jsonl").write_text(f'{{"path": "a.mp3"}}\n{bad}\n')
    assert letters(tmp_path / "m.jsonl") == [("bad_manifest", "m.jsonl row 2")]
    assert [each.id for each in listed(tmp_path / "m.jsonl") if isinstance(each, MediaFile)] == ["a.mp3"]


@pytest.mark.parametrize("bad", ["s3://bucket/b.mp3", "x" * 300 + ".mp3", "a\0b.mp3", "a.mp3/b.mp3"])
def test_a_row_that_no_store_can_look_up_is_a_dead_letter_and_the_others_live(tmp_path, bad):
    put(tmp_path / "a.mp3")
    manifest = write_manifest(tmp_path / "m.jsonl", [{"path": bad}, {"path": "a.mp3"}])
    found = listed(manifest)
    assert [type(each) for each in found] == [DeadLetter, MediaFile]
    assert found[0].media.id == bad


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", b"name,size\na.mp3,5\n"),
        ("m.csv", b"\xff\xfe\x00path"),
        ("m.jsonl", b'{"name": "a.mp3"}\n'),
        ("m.txt", b"\x89PNG\xff\xfe"),
        ("m.parquet", b"no parquet"),
        ("m.parquet", b""),
    ],
)
def test_a_bad_manifest_is_one_dead_letter(tmp_path, name, content):
    put(tmp_path / name, content)
    assert letters(tmp_path / name) == [("bad_manifest", name)]
    assert len(listed(tmp_path / name)) == 1


@pytest.mark.parametrize("name", ["m.txt", "m.csv", "m.jsonl"])
def test_a_manifest_without_rows_is_told_of(tmp_path, name):
    put(tmp_path / name, b"path\n" if name == "m.csv" else b"")
    assert len(letters(tmp_path / name)) == 1


def test_a_manifest_that_may_not_be_read_is_unreadable(tmp_path):
    def locked(self, uri):
        raise PermissionError(13, "Permission denied", uri)

    manifest = put(tmp_path / "m.txt", b"a.mp3\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalStore, "read", locked)
        assert letters(manifest) == [("unreadable", "m.txt")]


def test_a_list_may_hold_a_name_that_is_no_utf_8(tmp_path):
    (tmp_path / "m.txt").write_bytes(b"a.mp3\ncaf\xe9.mp3\nth\xe9.mp3\n")
    put(tmp_path / "a.mp3")
    try:
        put(tmp_path / os.fsdecode(b"caf\xe9.mp3"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    *media, letter = listed(tmp_path / "m.txt")
    assert [each.id for each in media] == ["a.mp3", "caf\udce9.mp3"]
    assert letter.detail == f"row 3: {tmp_path}/th\\xe9.mp3; it is not UTF-8: save the manifest as UTF-8"


def test_a_line_that_looks_like_a_remark_is_a_file_where_there_is_one(tmp_path):
    put(tmp_path / "#1.mp3")
    (tmp_path / "m.txt").write_text("# mine\n#1.mp3\n#2.mp3\n")
    assert ids(tmp_path / "m.txt") == ["#1.mp3"]
    (tmp_path / "m.txt").write_text("# mine\n")
    assert letters(tmp_path / "m.txt") == [("bad_manifest", "m.txt")]


@pytest.mark.parametrize("name", ["a%20b.mp3", "it's.mp3", '"a".mp3', "'a.mp3'", " a.mp3", "a\\b.mp3", "#a.mp3"])
def test_a_path_of_a_manifest_that_exists_is_literal(tmp_path, name):
    put(tmp_path / name)
    for other in ("a b.mp3", "a.mp3", "a/b.mp3"):
        put(tmp_path / other)
    [media] = listed(write_manifest(tmp_path / "m.jsonl", [{"path": name}]))
    assert media.uri == str(tmp_path / name)


@pytest.mark.parametrize(
    "written", ['"a b.mp3"', "'a b.mp3'", " a b.mp3 ", "./a b.mp3", ".\\a b.mp3", "file://{}/a%20b.mp3"]
)
def test_a_path_of_a_manifest_may_be_written_otherwise(tmp_path, written):
    put(tmp_path / "a b.mp3")
    [media] = listed(write_manifest(tmp_path / "m.txt", [{"path": written.format(tmp_path)}]))
    assert (media.uri, media.id.rpartition("/")[2]) == (str(tmp_path / "a b.mp3"), "a b.mp3")


def test_a_part_of_a_file_is_a_recording_of_its_own(tmp_path):
    put(tmp_path / "a.mp3")
    rows = [{"path": "a.mp3"}, {"path": "a.mp3", "offset": 1.5, "duration": 2}, {"path": "./a.mp3", "offset": 4}]
    whole, part, rest = listed(write_manifest(tmp_path / "m.jsonl", rows))
    assert [each.id for each in (whole, part, rest)] == ["a.mp3", "a.mp3#t=1.5,3.5", "a.mp3#t=4"]
    assert part.media_id == media_id(f"{tmp_path}/a.mp3#t=1.5,3.5")
    assert {each.uri for each in (whole, part, rest)} == {str(tmp_path / "a.mp3")}
    assert [(each.start_s, each.length_s) for each in (whole, part, rest)] == [(0, 0), (1.5, 2), (4, 0)]


def test_the_same_part_named_twice_is_taken_once(tmp_path):
    put(tmp_path / "a.mp3")
    rows = [{"path": "a.mp3", "offset": 0, "duration": 1}, {"path": "./a.mp3", "offset": "0.0", "duration": 1.0}]
    assert collected(write_manifest(tmp_path / "m.jsonl", rows)) == [("a.mp3", "a.mp3#t=0,1")]


def test_equal_ids_of_a_manifest_are_told_apart_and_nothing_is_lost(tmp_path):
    for name in ("a.mp3", "b.mp3", "c.mp3"):
        put(tmp_path / name)
    rows = [{"path": "a.mp3", "id": "x"}, {"path": "b.mp3", "id": "x"}, {"path": "c.mp3", "id": "y"}]
    rows += [{"path": "gone.mp3", "id": "x"}, {"path": "c.mp3", "id": "y"}]
    found = listed(write_manifest(tmp_path / "m.jsonl", rows))
    names = [(each.media if isinstance(each, DeadLetter) else each) for each in found]
    assert [each.id for each in names] == [
        *(f"x~{media_id(str(tmp_path / name))[:8]}" for name in ("a.mp3", "b.mp3")),
        "y",
        f"x~{media_id(str(tmp_path / 'gone.mp3'))[:8]}",
        "y",
    ]


def test_a_language_is_the_same_media_however_it_is_written(tmp_path):
    put(tmp_path / "a.mp3")
    written = ["hi", "hin", "HI", "hi-IN", "Hindi", "हिन्दी"]
    found = listed(write_manifest(tmp_path / "m.csv", [{"path": "a.mp3", "language": each} for each in written]))
    assert {(each.language, source_id(each)) for each in found} == {("hi", source_id(found[0]))}


def test_a_language_that_the_model_does_not_know_is_its_rows_letter(tmp_path):
    put(tmp_path / "a.mp3")
    manifest = write_manifest(tmp_path / "m.csv", [{"path": "a.mp3", "language": each} for each in ("fr", "en")])
    letter, media = list_input(str(manifest), Stores(), languages=frozenset({"en"}))
    assert (letter.code, letter.detail) == (
        "bad_manifest",
        "row 1: the model does not know the language 'fr'; it knows en",
    )
    assert media.language == "en"


@pytest.mark.parametrize("name", ["a.json", "a.tsv", "a.m3u", "a.ndjson"])
def test_a_folder_is_not_searched_for_manifests(tmp_path, name):
    put(tmp_path / "in" / name, b'{"path": "../b.mp3"}')
    put(tmp_path / "b.mp3")
    assert letters(tmp_path / "in") == [("no_match", str(tmp_path / "in"))]


def test_bad_rows_do_not_share_an_identity(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"path": ""}\n{"path": ""}\n')
    assert len({each.media.media_id for each in listed(tmp_path / "m.jsonl")}) == 2


def test_the_media_id_is_stable_and_depends_on_the_uri_alone(tmp_path):
    path = put(tmp_path / "a.mp3", b"1")
    before = listed(path)[0]
    put(path, b"other content")
    after = listed(tmp_path)[0]
    assert before.media_id == after.media_id == media_id(str(path))
    assert before.version != after.version
    assert media_id("/data/a.mp3") == "4a4c1e2f03f8e4257ce18e49a66fc2a6"


def test_a_recording_that_is_there_wins_over_one_that_is_missing(tmp_path):
    media = listed(put(tmp_path / "a.mp3"))[0]
    letter = DeadLetter(media, "CollectMedia", "missing", "")
    assert list(deduplicate(("k", [letter, media]))) == list(deduplicate(("k", [media, letter]))) == [media]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.mp4", "a.mp3"),
        ("a.mp4", "a.en.mp4"),
        ("A.mp4", "a.mp4"),
        ("one/a.mp4", "two/a.mp4"),  # the same path below two inputs
        ("caf\u00e9.mp4", "cafe\u0301.mp4"),
        ("a?.mp4", "a*.mp4"),
    ],
)
def test_two_media_that_would_write_the_same_file_get_different_names(tmp_path, first, second):
    put(tmp_path / first)
    put(tmp_path / second)
    if len(list(tmp_path.rglob("*.mp*"))) < 2:
        pytest.skip("this file system takes both names for one")
    folders = sorted({(tmp_path / name).parent for name in (first, second)})
    names = [name for _, name in collected(*folders)]
    assert len(names) == len({unicodedata.normalize("NFC", name).casefold() for name in names}) == 2
    assert not any(b.startswith(f"{a}.") for a in names for b in names)
    assert collected(*folders) == collected(*reversed(folders))  # the same names whatever the order


def test_the_step_names_each_recording_once_and_keeps_what_is_missing(tmp_path):
    put(tmp_path / "in" / "a.mp3")
    put(tmp_path / "in" / "sub" / "b.mp4")
    manifest = write_manifest(tmp_path / "m.csv", [{"path": "in/a.mp3"}, {"path": "gone.mp3"}])
    values = ("in", "in/a.mp3", "in/**/*.mp4", manifest.name, "no")
    inputs = tuple(str(tmp_path / value) for value in values)
    with test_pipeline.TestPipeline("FnApiRunner") as pipeline:
        found = pipeline | CollectMedia(Inputs(inputs))
        told = found | beam.Map(lambda each: each.code if isinstance(each, DeadLetter) else each.name)
        assert_that(told, equal_to(["a", "sub/b", "missing", "missing"]))


def test_a_missing_media_does_not_change_the_name_of_one_that_is_there(tmp_path):
    assert collected(put(tmp_path / "a.mp4"), tmp_path / "a.mp3") == [("", "missing"), ("a.mp4", "a")]


@pytest.mark.parametrize("value", ["in", "in/*.mp3", "in/caf\udce9.mp3"], ids=["folder", "pattern", "file"])
def test_a_name_that_is_no_utf_8_passes_the_step(tmp_path, value):
    name = os.fsdecode(b"caf\xe9.mp3")
    try:
        put(tmp_path / "in" / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert collected(tmp_path / value) == [(name, "caf_xe9")]
