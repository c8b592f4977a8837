"""What `diff` tells of two outputs."""

from __future__ import annotations

import json

import pytest

from beam_pipeline import diff
from tests.runs import place
from transforms.dataset.schema import DEAD_LETTERS, TRANSCRIPTS
from transforms.storage import Stores, join
from transforms.storage.profiles import read_profiles
from transforms.work.store import WorkStore, json_bytes
from transforms.write_dataset import ShardWriter

DONE, USAGE = 0, 2


def write(output, media, shards=1, **options):
    """An output that holds this of each recording: (media_id, id, language, text), or (media_id, id, None, code)."""
    store, root = place(output)
    work = WorkStore(root, "asr", "saved", stores=Stores(read_profiles({})), run="run")
    for shard in range(shards):
        with ShardWriter(work, shard, shards) as writer:
            for media_id, name, language, text in media[shard::shards]:
                if language is None:
                    writer.add(
                        "dead_letters", [blank(DEAD_LETTERS) | {"media_id": media_id, "id": name, "code": text}]
                    )
                    continue
                row = {"media_id": media_id, "id": name, "language": language, "transcription": text, "status": "ok"}
                writer.add("transcripts", [blank(TRANSCRIPTS) | row])
    fingerprints = {"asr": "asr", "saved": "saved", "translation": "", "translation_language": ""}
    record = {
        "run": f"run of {root[-1]}",
        "command": ["--input", "talks", "--output", root],
        "host": "here",
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:01:00+00:00",
        "options": {"output": root, "batch_size": 8, "language": "", **options},
        "model": {"name": "demo", "identity": options.get("weights", "1"), "path": root},
        "versions": {"torch": "2"},
        "layers": fingerprints,
    }
    store.put(join(root, "run.json"), json_bytes(record))
    return output


def blank(schema):
    """A row of a table that holds nothing."""
    empty = {"string": "", "bool": False}
    return {
        field.name: None if field.nullable else [] if field.type.num_fields else empty.get(str(field.type), 0)
        for field in schema
    }


MEDIA = [
    ("1", "a.mp3", "hi", "राम शहर आया"),
    ("2", "b.mp3", "hi", "मुझे पानी चाहिए।"),
    ("3", "c.mp3", "en", "it is hot"),
    ("4", "d.mp3", None, "not_media"),
    ("5", "e.mp3", "en", "one two"),
]
OTHER = [
    ("1", "a.mp3", "hi", "राम शहर आया"),
    ("2", "b.mp3", "hi", "मुझे दूध चाहिए"),
    ("3", "c.mp3", None, "store_failed"),
    ("4", "d.mp3", "en", "found"),
    ("6", "f.mp3", "en", "three"),
]


def printed(capsys, *words):
    assert diff.main(list(map(str, words))) == DONE
    return capsys.readouterr().out


@pytest.fixture
def both(tmp_path):
    return write(tmp_path / "a", MEDIA, shards=2), write(tmp_path / "b", OTHER, shards=3, batch_size=16, weights="2")


def test_everything_that_differs_is_told(both, capsys):
    found = json.loads(printed(capsys, *both, "--json"))
    assert found["a"]["output"] == str(both[0])
    assert found["options"] == {"batch_size": [8, 16], "weights": [None, "2"]}
    assert found["models"] == {"identity": ["1", "2"]}
    assert found["versions"] == {}
    assert found["media"] == {"a": 5, "b": 5, "both": 4, "gone": 1, "added": 1, "changed": 2}
    assert (found["gone"], found["added"]) == (["e.mp3"], ["f.mp3"])
    assert found["changed"] == [
        {"id": "c.mp3", "a": "ok", "b": "failed: store_failed"},
        {"id": "d.mp3", "a": "failed: not_media", "b": "ok"},
    ]
    expected = {"media": 2, "identical": 1, "words": 6, "errors": 1, "word_error": 0.1667}
    assert found["texts"] == expected
    assert found["languages"] == {"hi": expected}
    assert [(each["id"], each["errors"], each["words"]) for each in found["worst"]] == [("b.mp3", 1, 3)]


def test_people_read_the_same(both, capsys):
    text = printed(capsys, *both)
    for line in (
        "  batch_size: 8 → 16",
        "  identity: 1 → 2",
        "5 media in A, 5 in B, 4 in both",
        "  c.mp3: ok → failed: store_failed",
        "2 texts in both, 1 identical",
        "    16.7% word error (1 of 6)  hi",
        "    33.3% word error (1 of 3)  b.mp3 (hi)",
    ):
        assert line in text.splitlines()


def test_a_run_and_itself_do_not_differ(both, capsys):
    found = json.loads(printed(capsys, both[0], both[0], "--json"))
    assert not any(found[name] for name in ("options", "models", "versions", "gone", "added", "changed", "worst"))
    assert found["texts"]["identical"] == found["texts"]["media"] == 4
    assert "differ" not in printed(capsys, both[0], both[0])


def test_media_that_moved_are_matched_by_their_id_where_it_names_one_alone(tmp_path, capsys):
    a = write(tmp_path / "a", [("1", "x.mp3", "en", "one"), ("2", "y.mp3", "en", "two"), ("3", "z", "en", "no")])
    moved = [
        ("7", "x.mp3", "en", "one"),
        ("8", "y.mp3", "en", "too"),
        ("9", "y.mp3", "en", "two"),
        ("3", "w", "en", ""),
    ]
    b = write(tmp_path / "b", moved)
    found = json.loads(printed(capsys, a, b, "--json"))
    assert found["media"] == {"a": 3, "b": 4, "both": 2, "gone": 1, "added": 2, "changed": 0}
    assert (found["gone"], found["added"]) == (["y.mp3"], ["y.mp3", "y.mp3"])
    assert [each["id"] for each in found["worst"]] == ["w"]


def test_lists_are_as_long_as_asked_for_and_figures_count_all(tmp_path, capsys):
    a = write(tmp_path / "a", [(f"{n:03}", f"{n:03}", "en", "one two three four") for n in range(50)])
    worse = [(f"{n:03}", f"{n:03}", "en", " ".join(["x"] * (n % 5) + ["one"])) for n in range(40)]
    b = write(tmp_path / "b", worse)
    found = json.loads(printed(capsys, a, b, "--json", "--limit", 3))
    assert found["gone"] == ["040", "041", "042"]
    assert found["media"]["gone"] == 10
    assert found["texts"]["media"] == 40
    rates = [each["word_error"] for each in found["worst"]]
    assert (len(rates), rates) == (3, sorted(rates, reverse=True))
    text = printed(capsys, a, b, "--limit", 3)
    assert "and 7 more" in text
    assert printed(capsys, a, b, "--limit", 0).count("\n  0") == 0


def test_outputs_on_an_object_store_are_read_by_ranges(moto_place, tmp_path, capsys):
    _, base = moto_place
    a, b = write(f"{base}/a", MEDIA), write(tmp_path / "b", OTHER)
    found = json.loads(printed(capsys, a, b, "--json"))
    assert found["media"]["both"] == 4
    assert found["texts"]["errors"] == 1


def test_a_place_without_a_run_or_without_a_dataset_says_so(both, tmp_path, capsys):
    assert diff.main([str(both[0]), str(tmp_path / "nothing")]) == USAGE
    assert "no run has written to" in capsys.readouterr().err
    for shard in (both[1] / "transcripts").iterdir():
        shard.unlink()
    assert diff.main(list(map(str, both))) == USAGE
    assert f"there is no dataset in {both[1]}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["one"], ["a", "b", "--limit", "-1"], ["a", "b", "--nonsense"]])
def test_wrong_usage_is_one_line_and_ends_with_2(words, capsys):
    assert diff.main(words) == USAGE
    assert capsys.readouterr().err.startswith("error: ")
