"""An interrupted copy: half a file is told from a whole one wherever the container says its length."""

from __future__ import annotations

import pytest

SILENT = {"a.aac", "a.ac3", "a.mpg", "a.ts"}  # of their length
TELLING = {"a.aiff", "a.avi", "a.caf", "a.flv", "a.mka", "a.mov", "a.wav", "a.webm", "a.wma", "pcm.avi", "rf64.wav"}


def test_half_a_file_is_half_a_transcript(made, main_job):
    ran = main_job(made("25-cut-short"))
    rows = ran.rows()
    assert ran.code == 0
    assert set(rows) == SILENT | TELLING
    for name, row in rows.items():
        assert [round(segment["start"]) for segment in row["segments"]] == [1, 7]
        assert row["duration_sec"] == pytest.approx(12, abs=0.3)
        if name in TELLING:
            assert (row["status"], [problem["code"] for problem in row["problems"]]) == ("partial", ["truncated"])
            assert row["coverage"] == pytest.approx(0.5, abs=0.02)
        else:
            assert (row["status"], row["coverage"]) == ("ok", 1.0)
