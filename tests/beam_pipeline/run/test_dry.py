"""What a dry run says, for people and for programs, is what a run then does."""

from __future__ import annotations

import json
import shutil

import pytest

from beam_pipeline.run.estimate import START_H
from tests.conftest import SAMPLES, TRUTH
from tests.runs import run

DONE, USAGE, DEAD_LETTERS = 0, 2, 3


def test_a_dry_run_lists_what_would_be_done_and_does_nothing(cli, tmp_path):
    out = tmp_path / "out"
    done = cli("--input", SAMPLES, "gone.mp4", "--output", out, "--model", "demo", "--dry_run")
    assert done.code == 0, done.err
    assert "transcribe    letter.flac" in done.out
    assert "failed: missing  gone.mp4" in done.out
    totals = ["7 transcribe, 1 failed: missing", "passed over: 2 not_by_suffix (2 .json)"]
    assert done.out.splitlines()[-2:] == totals
    assert not out.exists()


@pytest.fixture(scope="module")
def half_done(tmp_path_factory):
    """Words of a job of which one recording is done, one failed, two are new, and three files are no media."""
    folder, out = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("half_done") / "out"
    shutil.copy(SAMPLES / "village.opus", folder)
    (folder / "empty.wav").touch()
    words = ("--input", folder, "--output", out, "--model", "demo")
    assert run(*words).code == DEAD_LETTERS
    for name in ("letter.flac", "office.mp3"):
        shutil.copy(SAMPLES / name, folder)
    for name in ("notes.md", "list.xyz", "._village.opus"):
        (folder / name).write_text("no recording")
    return words


def document(*words):
    """What a dry run prints for programs."""
    dry = run(*words, "--dry_run", "--json", "--log_level", "ERROR")
    assert dry.code == DONE, dry.said
    return json.loads(dry.said)


def size(name):
    return (SAMPLES / name).stat().st_size


def test_the_document_has_every_recording_and_what_they_come_to(half_done):
    found = document(*half_done)
    assert sorted(found.pop("media"), key=lambda media: media["id"]) == [
        {"id": "empty.wav", "todo": "failed", "size_bytes": 0, "code": "empty_file"},
        {"id": "letter.flac", "todo": "transcribe", "size_bytes": size("letter.flac"), "code": None},
        {"id": "office.mp3", "todo": "transcribe", "size_bytes": size("office.mp3"), "code": None},
        {"id": "village.opus", "todo": "done", "size_bytes": size("village.opus"), "code": None},
    ]
    assert found == {
        "totals": {"done": 1, "write_files": 0, "transcribe": 2, "failed": 1},
        "failures": {"empty_file": 1},
        "skipped": {"apple_double": 1, "not_by_suffix": 2},
        "skipped_suffixes": {".md": 1, ".xyz": 1},
        "estimate": None,
    }


def test_another_format_is_files_to_write_and_what_is_not_there_has_failed(half_done):
    found = document(*half_done, "--input", "gone.mp4", "--formats", "txt")
    assert found["totals"] == {"done": 0, "write_files": 1, "transcribe": 2, "failed": 2}
    assert found["failures"] == {"empty_file": 1, "missing": 1}


def test_for_dataflow_the_document_has_the_numbers_of_the_estimate_also_where_it_would_be_refused(cli, half_done):
    done = cli(*half_done, "--dry_run", "--json", "--runner=DataflowRunner", "--log_level", "ERROR")
    estimate = json.loads(done.out)["estimate"]
    audio_h = sum(TRUTH[name]["duration"] for name in ("letter.flac", "office.mp3")) / 3600
    assert estimate.pop("audio_hours") == pytest.approx(audio_h, abs=0.001)
    assert estimate.pop("hours") == pytest.approx(START_H, abs=0.01)
    assert estimate.pop("worker_hours") == pytest.approx(2 * START_H, abs=0.01)
    assert 0 < estimate.pop("usd") < 1
    asked = {"media": 2, "looked_into": 2, "workers": 2, "machine": "g2-standard-8", "gpu": "nvidia-l4"}
    assert estimate == asked
    assert (done.code, done.err.startswith("error: ")) == (USAGE, True)


def test_json_of_anything_but_a_dry_run_is_wrong_usage(cli, tmp_path):
    done = cli("--input", SAMPLES, "--output", tmp_path / "out", "--model", "demo", "--json")
    assert (done.code, done.out) == (USAGE, "")
    assert done.err.startswith("error: --json says how --dry_run prints: give both.")
    assert not (tmp_path / "out").exists()
