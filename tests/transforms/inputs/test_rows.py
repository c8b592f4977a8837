"""What a row means is plain, or one line says which value is not and what to write."""

from __future__ import annotations

import math

import pytest

from transforms.dead_letters import MediaError
from transforms.engines.languages import WHISPER
from transforms.inputs.manifests import PATH_COLUMNS, Row
from transforms.inputs.rows import ManifestEntry, read_row, shared_ids


def row(**cells):
    return read_row(Row(3, {"path": "a.mp3", **cells}), WHISPER)


def refusal(**cells):
    with pytest.raises(MediaError) as refused:
        row(**cells)
    assert refused.value.code == "bad_manifest"
    return refused.value.detail


@pytest.mark.parametrize("column", PATH_COLUMNS)
def test_the_path_may_stand_under_many_names(column):
    assert read_row(Row(1, {column: "b.mp3"}), WHISPER) == ManifestEntry(("b.mp3",))


@pytest.mark.parametrize(
    ("cell", "text"),
    [(7, "7"), (7.0, "7"), (0, "0"), (7.5, "7.5"), ("7.0", "7.0"), (b"x", "x"), (" x ", "x")]
    + [(nothing, "") for nothing in (None, "", "  ", math.nan, "NaN", "nan", "None", "null", "N/A", "<NA>")],
)
def test_an_id_is_what_a_person_would_read(cell, text):
    assert row(id=cell).id == text


@pytest.mark.parametrize(
    ("cell", "code"),
    [("hin", "hi"), ("en-US", "en"), ("auto", ""), (math.nan, ""), ("NaN", ""), (None, ""), (" hi ", "hi")],
)
def test_a_language_is_understood(cell, code):
    assert row(language=cell).language == row(lang=cell).language == code


@pytest.mark.parametrize(
    ("cell", "readings"),
    [
        ("a.mp3", ["a.mp3"]),
        (" a.mp3", [" a.mp3", "a.mp3"]),
        ('"a.mp3"', ['"a.mp3"', "a.mp3"]),
        ("'a.mp3'", ["'a.mp3'", "a.mp3"]),
        ("it's", ["it's"]),
        ("b\\a.mp3", ["b\\a.mp3", "b/a.mp3"]),
        ("file:///x/a%20b.mp3", ["file:///x/a%20b.mp3", "/x/a b.mp3"]),
        ("file://localhost/a.mp3", ["file://localhost/a.mp3", "/a.mp3"]),
        ("FILE:/a.mp3", ["FILE:/a.mp3", "/a.mp3"]),
        ("file:///%FF.mp3", ["file:///%FF.mp3", "/\udcff.mp3"]),
        ("s3://b/a%20b\\c.mp3", ["s3://b/a%20b\\c.mp3"]),
        ("\ud800.mp3", ["\ufffd.mp3"]),
        ({"path": "a.mp3", "bytes": False}, ["a.mp3"]),
    ],
)
def test_a_path_is_taken_as_it_stands_before_it_is_read_in_other_ways(cell, readings):
    assert list(row(path=cell).paths) == readings


@pytest.mark.parametrize("cell", [".", "./", "..", "../..", "/", "\\", '""', "''", ' "" '])
def test_a_path_never_means_a_folder_that_is_not_named(cell):
    assert refusal(path=cell).startswith("row 3: path is ")


@pytest.mark.parametrize("cell", [None, "", " ", math.nan, "NaN"])
def test_a_row_without_a_path_is_told_of(cell):
    assert refusal(path=cell) == "row 3: it has no path"


@pytest.mark.parametrize(
    ("cells", "advice"),
    [
        ({"path": ["a.mp3", "b.mp3"]}, "row 3: path is a list: write a row for each path"),
        ({"path": {"bytes": True}}, "row 3: the table holds the audio itself: write it to files"),
        ({"id": ["a"]}, "row 3: id is neither text nor a number"),
        ({"id": {"a": 1}}, "row 3: id is neither text nor a number"),
        ({"language": "klingon"}, "row 3: the language 'klingon'"),
        ({"language": "zu"}, "row 3: the model does not know the language 'zu'"),
        ({"language": ["hi"]}, "row 3: language is neither text nor a number"),
        ({"offset": -1}, "row 3: offset is '-1': write seconds, such as 12.5"),
        ({"offset": "0:30"}, "row 3: offset is '0:30': write seconds"),
        ({"offset": math.inf}, "row 3: offset is 'inf': write seconds"),
        ({"offset": 1, "duration": "x"}, "row 3: duration is 'x': write seconds"),
        ({"offset": 1, "duration": 0}, "row 3: duration is 0: write seconds above 0"),
        ({"offset": 1, "duration": -2}, "row 3: duration is '-2': write seconds"),
    ],
)
def test_what_is_not_plain_says_which_row_and_what_to_write(cells, advice):
    assert refusal(**cells).startswith(advice)


@pytest.mark.parametrize(
    ("cells", "part", "fragment"),
    [
        ({"offset": 1.5, "duration": 2}, (1.5, 2.0), "#t=1.5,3.5"),
        ({"offset": "1,5", "duration": "2"}, (1.5, 2.0), "#t=1.5,3.5"),
        ({"offset": 0, "duration": 1}, (0.0, 1.0), "#t=0,1"),
        ({"offset": None, "duration": 1}, (0.0, 1.0), "#t=0,1"),
        ({"offset": 5}, (5.0, 0.0), "#t=5"),
        ({"offset": 0}, (0.0, 0.0), ""),
        ({"offset": 0.1, "duration": 0.2}, (0.1, 0.2), "#t=0.1,0.3"),
        ({"duration": 1}, (0.0, 0.0), ""),  # what somebody measured
        ({"duration": "0:30"}, (0.0, 0.0), ""),
        ({"path": None, "audio_filepath": "a.mp3", "duration": 1.25}, (0.0, 1.25), "#t=0,1.25"),
        ({"path": None, "audio_filepath": "a.mp3", "duration": None}, (0.0, 0.0), ""),
    ],
)
def test_a_row_may_name_a_part(cells, part, fragment):
    named = row(**cells)
    assert ((named.start_s, named.length_s), named.part) == (part, fragment)


def test_only_ids_of_several_media_are_shared():
    rows = [
        ManifestEntry(("a.mp3",), "same"),
        ManifestEntry(("b.mp3",), "same"),
        ManifestEntry(("a.mp3",), "twice"),
        ManifestEntry(("./a.mp3",), "twice"),
        ManifestEntry(("c.mp3",), "part", start_s=1),
        ManifestEntry(("c.mp3",), "part", start_s=2),
        ManifestEntry(("d.mp3",)),
        ManifestEntry(("e.mp3",), "d.mp3"),
        ManifestEntry(('"f.mp3"', "f.mp3")),
        ManifestEntry(("f.mp3",)),
    ]
    assert shared_ids(rows) == {"same", "part", "d.mp3"}
