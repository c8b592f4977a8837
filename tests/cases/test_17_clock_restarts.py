"""Recordings that stopped and went on in the same file: the times go on too."""

from __future__ import annotations

import pytest


def test_what_is_behind_a_clock_that_begins_again_is_there_at_its_time(made, main_job):
    ran = main_job(made("17-clock-restarts"))
    rows = ran.rows()
    control = rows.pop("control.flac")
    assert ran.code == 0
    assert set(rows) == {"joined.flac", "joined.mkv", "joined.mp4", "joined.webm"}
    assert [round(segment["start"]) for segment in control["segments"]] == [1, 7, 13, 19]
    for row in rows.values():
        assert (row["status"], row["coverage"], row["transcription"]) == ("ok", 1.0, control["transcription"])
        assert row["duration_sec"] == pytest.approx(24, abs=0.1)
        starts = [segment["start"] for segment in row["segments"]]
        assert starts == pytest.approx([segment["start"] for segment in control["segments"]], abs=0.15)
