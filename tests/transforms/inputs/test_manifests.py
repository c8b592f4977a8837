"""Every kind of manifest that other tools write gives its rows; what cannot be read says why."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.dead_letters import MediaError
from transforms.inputs.manifests import KINDS, column_name, read_manifest

ROWS = [{"path": "a.mp3", "language": "hi"}, {"path": "ब.mp3", "language": "en"}]
TABLE = "path,language\na.mp3,hi\nब.mp3,en\n"


def cells(content, name):
    data = content.encode() if isinstance(content, str) else content
    return [dict(row.cells) for row in read_manifest(data, name)]


def problems(content, name):
    data = content.encode() if isinstance(content, str) else content
    return {row.number: row.problem for row in read_manifest(data, name) if row.problem}


def refusal(content, name):
    with pytest.raises(MediaError) as refused:
        read_manifest(content.encode() if isinstance(content, str) else content, name)
    return refused.value


def parquet(table):
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


JSON_LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", TABLE),
        ("m.csv", "\ufeff" + TABLE),
        ("m.csv", TABLE.encode("utf-16")),
        ("m.csv", b"\xfe\xff" + TABLE.encode("utf-16-be")),
        ("m.csv", TABLE.replace("\n", "\r\n")),
        ("m.csv", TABLE.replace("\n", "\r")),
        ("m.csv", TABLE.replace(",", ";")),
        ("m.csv", TABLE.replace(",", "\t").encode("utf-16")),
        ("m.csv", TABLE.replace(",", "|")),
        ("m.csv", "sep=;\r\n" + TABLE.replace(",", ";")),
        ("m.csv", TABLE.replace("path", "Path").replace("language", "LANGUAGE")),
        ("m.csv", TABLE.replace("path,language", " path , language ")),
        ("m.csv", '"path","language"\n"a.mp3","hi"\n"ब.mp3","en"\n'),
        ("m.csv", "\n" + TABLE + "\n,\n,\n"),
        ("m.CSV", TABLE),
        ("m.tsv", TABLE.replace(",", "\t")),
        ("m.tsv", TABLE.replace(",", "\t").replace("\n", "\r\n")),
        ("m.tsv", TABLE),
        ("m.tsv", '"path"\t"language"\n"a.mp3"\t"hi"\n"ब.mp3"\t"en"\n'),
        ("m.jsonl", JSON_LINES),
        ("m.jsonl", JSON_LINES.replace("\n", "\r")),
        ("m.jsonl", json.dumps(ROWS)),
        ("m.ndjson", JSON_LINES),
        ("m.json", JSON_LINES),
        ("m.json", json.dumps(ROWS, indent=2)),
        ("m.json", json.dumps({"path": ["a.mp3", "ब.mp3"], "language": ["hi", "en"]})),
        ("m.json", json.dumps({"path": {"0": "a.mp3", "1": "ब.mp3"}, "language": {"0": "hi", "1": "en"}})),
        ("m.json", JSON_LINES.encode("utf-16")),
        ("m.parquet", parquet(pa.Table.from_pylist(ROWS))),
        ("m.parquet", parquet(pa.Table.from_pylist(ROWS).select(["language", "path"]))),
    ],
)
def test_the_same_rows_come_out_of_every_kind(name, content):
    assert cells(content, name) == ROWS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_numbers_its_lines_as_editors_do(end):
    content = end.join(["# mine", "", "a.mp3", "  ", "#1.mp3"])
    rows = read_manifest(content.encode(), "m.txt")
    assert [(row.number, row.cells["path"], row.remark) for row in rows] == [
        (1, "# mine", True),
        (3, "a.mp3", False),
        (5, "#1.mp3", True),
    ]


@pytest.mark.parametrize("name", ["m.m3u", "m.m3u8"])
def test_a_playlist_gives_its_files_and_not_what_is_said_of_them(name):
    rows = read_manifest(b"#EXTM3U\r\n#EXTINF:2,one\r\na.mp3\r\n\r\nb.mp3\r\n", name)
    assert [(row.number, row.cells["path"]) for row in rows] == [(3, "a.mp3"), (5, "b.mp3")]


def test_an_hls_playlist_is_no_manifest():
    refused = refusal("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n", "/x/live.m3u8")
    assert refused.code == "not_media"
    assert "ffmpeg -i live.m3u8 -c copy" in refused.detail


@pytest.mark.parametrize(
    ("name", "same"), [(" Audio Path ", "audio_path"), ("audio-filepath", "audio_filepath"), ("ID", "id"), (7, "7")]
)
def test_names_of_columns_are_told_by_their_letters(name, same):
    assert column_name(name) == same


def test_rows_by_their_ids_are_understood():
    content = json.dumps({"one": {"wav": "a.mp3"}, "two": {"wav": "b.mp3", "id": "2"}})
    assert cells(content, "m.json") == [{"id": "one", "wav": "a.mp3"}, {"id": "2", "wav": "b.mp3"}]


def test_one_object_is_one_row():
    assert cells('{"path": "a.mp3",\n "id": 3}', "m.json") == [{"path": "a.mp3", "id": 3}]
    assert cells('{"audio": {"path": "a.mp3"}}', "m.json") == [{"audio": {"path": "a.mp3"}}]


def test_ragged_rows_and_surplus_cells_do_no_harm():
    content = "path,language\na.mp3\nb.mp3,hi,surplus\n\nc.mp3,\n"
    assert cells(content, "m.csv") == [
        {"path": "a.mp3"},
        {"path": "b.mp3", "language": "hi"},
        {"path": "c.mp3", "language": ""},
    ]


def test_a_quote_in_a_sentence_of_a_tsv_swallows_no_rows():
    content = 'path\tsentence\na.mp3\t"Hello\nb.mp3\tshe said ""no""\nc.mp3\tBye"\n'
    assert [row["path"] for row in cells(content, "m.tsv")] == ["a.mp3", "b.mp3", "c.mp3"]


def test_a_quoted_cell_of_a_tsv_may_have_lines():
    content = 'path\tsentence\na.mp3\t"Hello\nyou"\nb.mp3\tBye\n'
    assert [row["path"] for row in cells(content, "m.tsv")] == ["a.mp3", "b.mp3"]


def test_a_cell_may_be_as_long_as_a_transcript():
    assert len(cells("path,text\na.mp3," + "x" * 500_000 + "\n", "m.csv")) == 1


DEEP = '{"path": ' + "[" * 200_000 + "]" * 200_000 + "}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.jsonl", '{{"path": "a.mp3"}}\n{bad}\n{{"path": "c.mp3"}}\n'),
        ("m.json", '{{"path": "a.mp3"}}\n{bad}\n{{"path": "c.mp3"}}\n'),
        ("m.json", '[{{"path": "a.mp3"}}, {bad}, {{"path": "c.mp3", "id": "1, ]2"}}]'),
    ],
)
@pytest.mark.parametrize(
    ("bad", "problem"), [(DEEP, "nested too deeply"), ("{'path': 1}", "no JSON object"), ("3", "no JSON object")]
)
def test_a_row_that_cannot_be_read_costs_no_other(name, content, bad, problem):
    filled = content.format(bad=bad)
    assert list(problems(filled, name)) == [2]
    assert problem in problems(filled, name)[2]
    assert [row["path"] for row in cells(filled, name) if row] == ["a.mp3", "c.mp3"]


@pytest.mark.parametrize(
    ("content", "good", "bad"),
    [
        ('[{"path": "a.mp3"}, {"path": "b.m', 1, [2]),
        ('["a.mp3"]\n["b.mp3"]\n', 1, [2]),
        ('[{"path": "a.mp3"},, {"path": "b.mp3"}]', 2, []),
        ("[" * 200_000, 0, [1]),
    ],
)
def test_an_array_that_is_broken_gives_what_it_has(content, good, bad):
    rows = read_manifest(content.encode(), "m.json")
    assert [row.number for row in rows if row.problem] == bad
    assert len(rows) == good + len(bad)


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        (
            "m.csv",
            "name,size\na.mp3,5\n",
            "none of its columns (name, size) holds paths: call the one that does `path`",
        ),
        ("m.csv", "a.mp3\n", "none of its columns (a.mp3)"),
        ("m.jsonl", '{"name": "a.mp3"}\n', "none of its columns (name)"),
        ("m.json", '{"name": "a.mp3"}', "none of its columns (name)"),
        ("m.json", "{}", "none of its columns ()"),
        ("m.json", '{\n"path": "a.mp3"\n', "neither JSON nor JSON lines"),
        ("m.json", DEEP, "neither JSON nor JSON lines"),
        ("m.parquet", parquet(pa.table({"name": ["a.mp3"]})), "none of its columns (name)"),
        ("m.parquet", b"PAR1", "Parquet"),
        ("m.txt", b"\xe9.mp3\nb\xff.mp3\n", "line 1 is not UTF-8: save it as UTF-8"),
        ("m.csv", b"path\nb\xff.mp3\n", "line 2 is not UTF-8: save it as UTF-8"),
    ],
)
def test_what_is_no_manifest_says_why(name, content, advice):
    refused = refusal(content, name)
    assert refused.code == "bad_manifest"
    assert advice in refused.detail


def test_a_parquet_file_may_hold_dictionaries_numbers_and_audio():
    table = pa.table(
        {
            "Audio": [{"bytes": b"RIFF" * 5000, "path": "a.mp3"}, {"bytes": None, "path": "b.mp3"}],
            "id": pa.array([1.0, None]),
            "language": pa.array(["hi", "hi"]).dictionary_encode(),
            "text": ["not", "read"],
        }
    )
    assert cells(parquet(table), "m.parquet") == [
        {"audio": {"path": "a.mp3", "bytes": True}, "id": 1.0, "language": "hi"},
        {"audio": {"path": "b.mp3", "bytes": False}, "id": None, "language": "hi"},
    ]
    assert cells(parquet(pa.table({"audio": [b"RIFF" * 5000]})), "m.parquet") == [{"audio": {"bytes": True}}]


@pytest.mark.parametrize("name", sorted(f"m{suffix}" for suffix in KINDS))
def test_nothing_is_no_row(name):
    content = parquet(pa.table({"path": pa.array([], pa.string())})) if name == "m.parquet" else b""
    assert read_manifest(content, name) == []
