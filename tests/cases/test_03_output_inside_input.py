"""One folder for everything, night after night: what a run wrote never becomes its input."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.runs import run, table
from transforms.storage import join

MEDIA = {"monday.mp3", "tuesday.mp3"}
FLAGS = ["--model", "demo", "--keep_audio", "--formats", "srt"]


@pytest.mark.parametrize("output", ["talks/out", "talks", "."])
def test_two_recordings_stay_two_every_night(made, main_job, tmp_path, output):
    folder = shutil.copytree(made("03-output-inside-input"), tmp_path / "home")
    for _ in range(2):
        ended = main_job(folder, "--input", "talks", *FLAGS[2:], output=output)
        assert ended.code == 0, ended.said
        assert set(ended.rows()) == MEDIA
        summary = json.loads((ended.output / "summary.json").read_text())
    assert (ended.output / "media" / "monday.opus").stat().st_size > 0
    assert summary["skipped"] == ({} if output == "." else {"output": 2})


def test_nor_does_what_another_run_wrote_below_the_input(made, main_job, tmp_path):
    folder = shutil.copytree(made("03-output-inside-input"), tmp_path / "home")
    assert main_job(folder, "--input", "talks", *FLAGS[2:], output="talks/first").code == 0
    shutil.copy(folder / "talks" / "monday.mp3", folder / "talks" / "first" / "media" / "mine.opus")
    ended = main_job(folder, "--input", "talks", *FLAGS[2:])
    assert ended.code == 0, ended.said
    assert set(ended.rows()) == {*MEDIA, "first/media/mine.opus"}
    assert json.loads((ended.output / "summary.json").read_text())["skipped"]["output"] == 2


def test_nor_does_it_in_a_bucket(made, moto_place):
    store, base = moto_place
    for name in MEDIA:
        store.put_file(f"{base}/talks/{name}", made("03-output-inside-input") / "talks" / name)
    for output in ("talks/out", "talks"):
        for _ in range(2):
            ended = run("--input", f"{base}/talks", "--output", join(base, output), *FLAGS)
            assert ended.code == 0, ended.said
            assert {row["id"] for row in table(join(base, output), "transcripts")} == MEDIA
        for entry in [*store.list(f"{base}/talks/out")]:
            store.delete(entry.uri)
