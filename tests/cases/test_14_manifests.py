"""Manifests as other tools write them: taken where the meaning is plain, else one line that says row and value."""

from __future__ import annotations

import pytest

from transforms.engines.catalog import describe, known_languages
from transforms.inputs.identity import named
from transforms.inputs.listing import list_input
from transforms.records import DeadLetter
from transforms.storage import Stores

RAM = "राम आज बाज़ार जाएगा।"
DOCTOR = "The doctor will come at five o'clock."


def listed(folder, name):
    """(id, language, start, length) of each recording of a manifest, and id and words of each dead letter."""
    found = named(list_input(str(folder / name), Stores(), languages=known_languages(describe("demo"))))
    return sorted(
        (each.media.id, each.detail) if isinstance(each, DeadLetter) else (each.id, each.language, *each[-2:])
        for each in found
    )


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("train_manifest.json", [("clips/1.mp3#t=0,1", "", 0, 1), ("clips/2.mp3#t=0,1", "", 0, 1)]),
        ("nemo.jsonl", [("clips/1.mp3#t=0,1", "", 0, 1), ("clips/2.mp3#t=0,1", "", 0, 1)]),
        ("pandas-nan.jsonl", [("7", "", 0, 0), ("clips/1.mp3", "", 0, 0)]),
        ("hf.jsonl", [("clips/1.mp3", "", 0, 0)]),
        ("hf-audio.parquet", [("clips/1.mp3", "", 0, 0)]),
        ("floats.parquet", [("1", "", 0, 0), ("clips/2.mp3", "", 0, 0)]),
        ("excel-de.csv", [("clips/1.mp3", "hi", 0, 0)]),
        ("excel-unicode.csv", [("clips/1.mp3", "hi", 0, 0)]),
        ("clips.tsv", [("clips/1.mp3", "hi", 0, 0)]),
        ("capital.csv", [("clips/1.mp3", "hi", 0, 0)]),
        ("spaced.csv", [("clips/1.mp3", "hi", 0, 0)]),
        ("parts.csv", [("part-1", "", 0, 1), ("part-2", "", 1, 1)]),
        ("list.m3u", [("clips/1.mp3", "", 0, 0)]),
        ("mac.txt", [("clips/1.mp3", "", 0, 0), ("clips/2.mp3", "", 0, 0)]),
        ("ragged.csv", [("clips/1.mp3", "", 0, 0), ("clips/2.mp3", "hi", 0, 0), ("clips/3.mp3", "", 0, 0)]),
    ],
)
def test_the_media_of_a_manifest(made, name, media):
    assert listed(made("14-manifests"), name) == media


def test_what_is_not_plain_is_one_line_that_says_row_and_what_to_write(made):
    folder = made("14-manifests")
    assert listed(folder, "list.jsonl") == [("list.jsonl row 1", "row 1: path is a list: write a row for each path")]
    assert listed(folder, "pattern.csv") == [
        ("clips", f"row 2: {folder}/clips is a folder: name its files, or give the folder to --input"),
        ("clips/*.mp3", f"row 1: {folder}/clips/*.mp3; a manifest takes no patterns: give it to --input"),
    ]


def test_an_empty_path_and_a_dot_never_mean_the_folder(made):
    assert listed(made("08-empty-variable"), "m.csv") == [
        ("m.csv row 1", "row 1: it has no path"),
        ("m.csv row 2", "row 2: path is '.', which names no file"),
    ]


def test_equal_ids_of_several_media_are_told_apart_whatever_their_order(made):
    folder = made("14-manifests")
    ids = [each[0] for each in listed(folder, "same-id.csv")]
    assert ids[0] == "Same"
    assert [name.partition("~")[0] for name in ids[1:]] == ["same", "same"]
    assert len(set(ids)) == 3
    header, *rows = (folder / "same-id.csv").read_text().splitlines()
    (folder / "turned.csv").write_text("\n".join([header, *reversed(rows)]))
    assert [each[0] for each in listed(folder, "turned.csv")] == ids


def test_languages_as_people_write_them(made, main_job):
    ran = main_job(made("14-manifests"), "--input", "languages.csv")
    assert ran.code == 0, ran.said
    rows = ran.rows()
    assert {name: row["language"] for name, row in rows.items()} == {
        "clips/1.mp3": "en",  # as its row says, though it is Hindi
        "clips/2.mp3": "hi",
        "clips/3.mp3": "hi",
        "clips/4.mp3": "hi",  # auto
        "clips/5.mp3": "en",
    }
    texts = {name: row["transcription"] for name, row in rows.items() if name != "clips/1.mp3"}
    assert texts == {"clips/2.mp3": RAM, "clips/3.mp3": RAM, "clips/4.mp3": RAM, "clips/5.mp3": DOCTOR}


def test_a_list_with_comments_quotes_uris_and_backslashes(made, main_job):
    folder = made("14-manifests")
    ran = main_job(folder, "--input", "list.txt")
    assert ran.code == 0, ran.said
    names = ["clips/1.mp3", "clips/2.mp3", "clips/3.mp3", "clips/4.mp3", f"{folder}/clips/a b.mp3"]
    assert {name: row["transcription"] for name, row in ran.rows().items()} == dict.fromkeys(names, RAM)


def test_a_bad_row_costs_no_other_and_a_language_that_the_model_does_not_know_its_row_alone(made, main_job):
    folder = made("14-manifests")
    deep = '{"path": ' + "[" * 100_000 + "]" * 100_000 + "}"
    rows = ['{"path": "clips/1.mp3"}', deep, '{"path": "clips/2.mp3", "language": "zulu"}']
    rows += [f'{{"path": "clips/{clip}.mp3", "language": "zu"}}' for clip in (3, 4, 5)]
    (folder / "bad.jsonl").write_text("\n".join([*rows, '{"path": "\\ud800.mp3"}']))
    ran = main_job(folder, "--input", "bad.jsonl")
    assert ran.code == 3, ran.said
    assert {name: row["transcription"] for name, row in ran.rows().items()} == {"clips/1.mp3": RAM}
    letters = {name: row["detail"] for name, row in ran.rows("dead_letters").items()}
    zu = "the model does not know the language 'zu'; it knows"
    assert letters["bad.jsonl row 2"] == "row 2: it is nested too deeply"
    assert letters["bad.jsonl row 3"].startswith("row 3: the language 'zulu' is not one that can be told: write")
    assert [letters[f"bad.jsonl row {row}"].startswith(f"row {row}: {zu}") for row in (4, 5, 6)] == [True] * 3
    assert letters["\ufffd.mp3"].startswith("row 7: ")
    assert len(letters) == 6


def test_a_part_is_transcribed_and_no_more(made, main_job):
    ran = main_job(made("14-manifests"), "--input", "parts.csv", "nemo.jsonl")
    assert ran.code == 0, ran.said
    lengths = {name: row["duration_sec"] for name, row in ran.rows().items()}
    # One part stands in both under two ids: it is taken once, under the first by id. The file ends within part-2.
    assert lengths == pytest.approx({"clips/1.mp3#t=0,1": 1, "part-2": 0.9, "clips/2.mp3#t=0,1": 1}, abs=0.05)
