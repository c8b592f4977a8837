"""What becomes of files that people deleted, changed, or whose media left the input."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.conftest import SAMPLES
from tests.runs import counters, files, letters, run, transcripts

DONE, DEAD_LETTERS = 0, 3
NAMES = ("letter.flac", "village.opus")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An input and the output of a run on it."""
    base = tmp_path_factory.mktemp("finished")
    (base / "in").mkdir()
    for name in NAMES:
        shutil.copy(SAMPLES / name, base / "in")
    ended = run("--input", base / "in", "--output", base / "out", *FLAGS)
    assert ended.code == DONE, ended.said
    return base


FLAGS = ("--model", "demo", "--formats", "json", "srt", "txt")


@pytest.fixture
def base(finished, tmp_path):
    """A copy of them; the media are the same files, so that nothing is done again."""
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path


def again(finished, base, *words, inputs=NAMES):
    given = ["--input", *(finished / "in" / name for name in inputs)]  # a path that is not there may be among them
    return run(*given, "--output", base / "out", *FLAGS, *words)


def inferred(output):
    return {"decode.media", "transcribe.windows"} & set(counters(output))


def test_what_somebody_deleted_comes_back_and_nothing_is_inferred(finished, base):
    out = base / "out"
    before = files(out)
    for name in ("media/letter.srt", "media/village.json", "report.html", "summary.json"):
        (out / name).unlink()
    shutil.rmtree(out / "transcripts")
    (out / "media/letter.txt").write_text("corrected by hand\n")
    ended = again(finished, base)
    assert ended.code == DONE, ended.said
    assert files(out) == {**before, "letter.txt": b"corrected by hand\n"}
    assert set(transcripts(out)) == set(NAMES)
    assert (out / "report.html").exists()
    assert json.loads((out / "summary.json").read_text())["media"] == 2
    assert not inferred(out)
    assert not list(out.glob("_work/gaps/*")) or again(finished, base).code == DONE
    assert not list(out.glob("_work/gaps/*"))


def test_the_files_of_a_recording_that_left_the_input_go_and_come_back_with_it(finished, base):
    out = base / "out"
    before = files(out)
    (out / "media/village.txt").write_text("corrected by hand\n")
    ended = again(finished, base, inputs=NAMES[:1])
    assert ended.code == DONE, ended.said
    assert "1 media left the input: 2 files of theirs were removed" in ended.said
    ours = {name: content for name, content in before.items() if name.startswith("letter.")}
    assert files(out) == {**ours, "village.txt": b"corrected by hand\n"}
    this_run = json.loads((out / "summary.json").read_text())["this_run"]
    assert (this_run["left"], this_run["files_removed"]) == (1, 2)

    # it comes back; what was changed by hand is nobody's but the user's
    refused = again(finished, base)
    assert refused.code == 2
    assert "no run wrote there: media/village.txt. Take" in refused.said
    (out / "media/village.txt").unlink()
    assert again(finished, base).code == DONE
    assert files(out) == before
    assert not inferred(out)


def test_nothing_is_removed_where_an_input_could_not_be_listed_or_is_to_stay(finished, base):
    out = base / "out"
    before = files(out)
    gone = again(finished, base, inputs=[NAMES[0], "not mounted"])
    assert gone.code == DEAD_LETTERS, gone.said
    assert list(letters(out).values()) == ["missing"]
    assert "1 media left the input, as it seems; not all of it could be listed" in gone.said
    assert files(out) == before
    kept = again(finished, base, "--keep_missing", inputs=NAMES[:1])
    assert kept.code == DONE, kept.said
    assert files(out) == before
    assert set(transcripts(out)) == set(NAMES)
