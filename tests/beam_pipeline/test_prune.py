"""What `prune` removes from an output, and what it leaves."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from beam_pipeline import prune
from beam_pipeline.outputs.last_run import read
from tests.conftest import SAMPLES, with_noise
from tests.runs import counters, files, run, transcripts
from transforms.storage import Stores
from transforms.work.lease import acquire

DONE, FAILED, USAGE, DEAD_LETTERS = 0, 1, 2, 3
NAMES = ("letter.flac", "village.opus")
FLAGS = ("--model", "demo", "--formats", "srt")


def content(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An input, and an output on which other options and a recording that is gone have left something."""
    base = tmp_path_factory.mktemp("finished")
    (base / "in").mkdir()
    with_noise(base / "in", NAMES)
    flags = ["--input", base / "in", "--output", base / "out", *FLAGS]
    assert run(*flags, "--language", "hi").code == DEAD_LETTERS
    assert run(*flags, "--keep_missing").code == DEAD_LETTERS
    (base / "in/village.opus").unlink()
    assert run(*flags).code == DEAD_LETTERS
    for name in ("asr/.DS_Store", "asr/0123456789ab/.DS_Store", "runs/.DS_Store", "saved/.DS_Store", "mine.json"):
        (base / "out/_work" / name).parent.mkdir(exist_ok=True)
        (base / "out/_work" / name).write_text("litter")
    (base / "out/mine.json").write_text("{}")
    return base


@pytest.fixture
def out(finished, tmp_path):
    return pathlib.Path(shutil.copytree(finished / "out", tmp_path / "out"))


def printed(capsys, out, *words, code=DONE):
    assert prune.main(["--output", str(out), *words]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_it_tells_first_and_then_removes_exactly_that(finished, out, capsys):
    before = content(out)
    sizes = json.loads(printed(capsys, out, "--dry_run", "--json"))
    assert sizes.pop("dry_run")
    assert content(out) == before
    assert {group: size["objects"] for group, size in sizes.items()} == {"asr": 2, "dead": 1, "notes": 1}
    text = printed(capsys, out)
    assert "2           0.0 MB  transcripts made with other options" in text
    assert text.splitlines()[-1].split() == ["4", "0.0", "MB", "removed"]
    gone = {name: data for name, data in before.items() if name not in content(out)}
    gone = {name: data for name, data in gone.items() if "/owner/" not in name}
    assert len(gone) == 4
    assert sum(map(len, gone.values())) == sum(size["bytes"] for size in sizes.values())
    assert {"_work/asr/.DS_Store", "_work/asr/0123456789ab/.DS_Store", "_work/mine.json"} <= content(out).keys()
    assert files(out) == {name.removeprefix("media/"): data for name, data in before.items() if "media/" in name}
    assert json.loads(printed(capsys, out, "--json")) == {"dry_run": False}

    ended = run("--input", finished / "in", "--output", out, *FLAGS)  # what it needs is still there
    assert ended.code == DEAD_LETTERS, ended.said
    assert not {"decode.media", "decode.failed"} & set(counters(out))
    assert set(transcripts(out)) == {"letter.flac"}


def test_files_that_an_earlier_version_noted_go_too_and_changed_ones_stay(out, capsys):
    work = read(str(out), Stores()).work
    [media] = [media for media in work.saved_media() if media.id == "village.opus"]
    for name in ("old.srt", "new.srt"):
        (out / "media" / name).write_text("by hand")
    work.commit_saved(media._replace(name="old"), ["media/old.srt"], True)
    work.commit_saved(media._replace(name="new"), ["media/new.srt"], True, {"media/new.srt": "another digest"})
    assert "1           0.0 MB  files of media that left the input" in printed(capsys, out)
    assert set(files(out)) == {"letter.srt", "new.srt"}


def test_a_run_that_is_under_way_or_did_not_end_is_left_alone(out, capsys):
    work = read(str(out), Stores()).work
    record = json.loads((out / "run.json").read_text())
    del record["ended"], record["exit_code"]
    (out / "run.json").write_text(json.dumps(record))
    before = content(out)
    assert "did not come to its end: run it again" in printed(capsys, out, code=USAGE)
    acquire(work)
    for words in ([], ["--dry_run"]):
        assert "is writing to" in printed(capsys, out, *words, code=FAILED)
    assert content(out).keys() >= {name for name in before if "/owner/" not in name}


def test_where_an_input_was_not_there_no_file_of_media_goes(finished, out, capsys):
    gone = run("--input", SAMPLES / "office.mp3", "not mounted", "--output", out, *FLAGS)
    assert gone.code == DEAD_LETTERS, gone.said
    assert {"letter.srt", "office.srt"} == set(files(out))
    assert "left the input" not in printed(capsys, out)
    assert {"letter.srt", "office.srt"} == set(files(out))


def test_a_place_without_a_run_says_so(tmp_path, capsys):
    assert printed(capsys, tmp_path, code=USAGE) == f"error: no run has written to {tmp_path}: there is no run.json\n"
