"""An output where a user's own files lie: they stay as they are, and the run says so before it works."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.cases.conftest import CaseRun
from tests.runs import contents, run
from transforms.storage import join

DONE, USAGE = 0, 2


def content(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def project(made, tmp_path):
    return pathlib.Path(shutil.copytree(made("02-output-over-source"), tmp_path / "project"))


def test_a_run_that_would_replace_what_is_not_its_own_refuses_and_names_it(project, main_job):
    before = content(project)
    ended: CaseRun = main_job(project, "--input", "media", "--keep_audio", output=".")
    assert ended.code == USAGE
    assert content(project) == before
    assert ended.said.splitlines()[-1] == (
        f"error: --output {project}: this run would replace files that no run wrote there: media/other.json, "
        "media/talk.opus, media/talk.srt, media/talk.txt, run.json and 3 more. "
        "Take another --output, or move them away"
    )


def test_a_source_is_not_replaced_by_its_own_kept_audio(project, main_job):
    for name in ("report.html", "run.json", "transcripts", "segments", "media/talk.srt", "media/talk.txt"):
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (project / "media/other.json").unlink()
    source = (project / "media/talk.opus").read_bytes()
    refused = main_job(project, "--input", "media", "--keep_audio", output=".")
    assert refused.code == USAGE
    assert "no run wrote there: media/talk.opus. Take" in refused.said
    assert main_job(project, "--input", "media", output=".").code == DONE  # nothing of it is in the way
    again = main_job(project, "--input", "media", "--keep_audio", output=".")
    assert again.code == USAGE
    assert (project / "media/talk.opus").read_bytes() == source
    assert main_job(project, "--input", "media", output=".").code == DONE


@pytest.mark.parametrize("kind", ["moto", "gcs"])
def test_in_a_store_a_source_and_hand_made_subtitles_stay_as_they_are(project, kind, request):
    store, base = request.getfixturevalue(f"{kind}_place")
    output = f"{base}/project"
    for name, data in content(project).items():
        store.put(join(output, name), data)
    before = contents(base, "project")
    flags = ["--input", f"{output}/media", "--output", output, "--model", "demo", "--keep_audio"]
    ended = run(*flags)
    assert ended.code == USAGE, ended.said
    assert "media/talk.opus, media/talk.srt" in ended.said
    assert contents(base, "project") == before
    for name in before.keys() - {"media/talk.opus", "media/other.m4a"}:
        store.delete(join(output, name))
    ended = run(*flags)
    assert ended.code == USAGE, ended.said
    assert "no run wrote there: media/talk.opus. Take" in ended.said
    assert store.read(join(output, "media/talk.opus")) == before["media/talk.opus"]
