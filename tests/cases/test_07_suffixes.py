"""Recordings as phones, browsers, cameras and archives name them are all taken; what is not is counted."""

from __future__ import annotations

import json


def test_every_recording_is_done_whatever_made_it(made, main_job):
    ended = main_job(made("07-suffixes"))
    assert ended.code == 0, ended.said
    rows = ended.rows()
    assert set(rows) == {
        "android.mpga", "archive.tta", "archive.wv", "broadcast.mxf", "browser.weba", "film.eac3", "flash.f4v",
        "itunes.m4p", "long.w64", "mac.aifc", "old.divx", "phone.g722", "plain.mp3", "radio.ogx", "receiver.tp",
        "ringtone.m4r", "samsung.3ga", "unix.au", "voice.spx",
    }  # fmt: skip
    assert {row["transcription"] for row in rows.values()} == {"राम आज बाज़ार जाएगा।"}
    assert (ended.output / "media" / "browser.srt").exists()
    summary = json.loads((ended.output / "summary.json").read_text())
    assert (summary["skipped"], summary["skipped_suffixes"]) == ({"not_by_suffix": 1}, {"": 1})


def test_more_are_taken_where_that_is_asked_for(made, main_job):
    ended = main_job(made("07-suffixes"), "--suffixes", ".", "XYZ", "--dry_run")
    assert ended.code == 0
    assert "Voice 001" in ended.said
    assert "passed over" not in ended.said
