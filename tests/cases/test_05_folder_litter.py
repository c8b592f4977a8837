"""A folder as it comes from a Mac's USB stick, a NAS and a web project: litter is counted and fails nothing."""

from __future__ import annotations

import json

from tests.runs import run

LITTER = {"apple_double": 2, "in_progress": 3, "other_content": 2, "packages": 1, "trash": 1}


def test_the_one_recording_is_done_and_the_litter_counted(made, main_job):
    folder = made("05-folder-litter")
    ended = main_job(folder)
    assert ended.code == 0, ended.said
    assert {name: row["transcription"] for name, row in ended.rows().items()} == {"talk.mp3": "राम आज बाज़ार जाएगा।"}
    assert ended.rows("dead_letters") == {}
    summary = json.loads((ended.output / "summary.json").read_text())
    assert summary["skipped"] == LITTER
    assert summary["skipped_suffixes"] == {}
    assert "2 apple_double, 3 in_progress" in (ended.output / "report.html").read_text()

    listed = run("--input", "in", "--output", ended.output, "--model", "demo", "--dry_run", cwd=folder).said
    assert "done before" in listed
    assert "passed over: 2 apple_double (._talk.mp3, __MACOSX/._talk.mp3), 3 in_progress" in listed


def test_where_all_is_litter_the_error_says_so(made, main_job):
    ended = main_job(made("05-folder-litter"), "--input", "in/site")
    assert ended.code == 2
    assert "no media found" in ended.said
    assert "2 other_content (app.ts, module.mts), 1 packages (node_modules/lib/index.d.ts)" in ended.said
