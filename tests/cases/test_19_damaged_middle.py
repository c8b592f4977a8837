"""A damaged stretch costs itself alone, and the transcript says where it is."""

from __future__ import annotations

import pytest

TEXT = "My sister brought a book from the library."
MARKS = range(5, 240, 15)
# the sentence whose first sound lies in the damage, or at its edge
DAMAGED = 80
WITH_TIMES = ("a.m4a", "b.mp4", "e.ts")


def test_what_is_behind_a_damaged_stretch_is_there_and_the_gap_is_told(made, main_job):
    ran = main_job(made("19-damaged-middle"))
    rows = ran.rows()
    assert ran.code == 0
    assert set(rows) == {*WITH_TIMES, "c.mp3", "d.aac"}
    for row in rows.values():
        gaps = [problem for problem in row["problems"] if problem["code"] == "damaged"]
        assert row["status"] == "partial"
        assert len(gaps) == 1
        assert float(gaps[0]["where"].removeprefix("second ")) == pytest.approx(72, abs=2)
        assert 0.95 < row["coverage"] < 1
        assert sum(segment["text"] == TEXT for segment in row["segments"]) >= len(MARKS) - 1
    for name in WITH_TIMES:  # frames of the others carry none
        heard = [segment["start"] for segment in rows[name]["segments"] if segment["text"] == TEXT]
        whole = [start for start in heard if round(start) != DAMAGED]
        assert whole == pytest.approx([mark for mark in MARKS if mark != DAMAGED], abs=0.2)
        assert rows[name]["duration_sec"] == pytest.approx(240, abs=0.1)
