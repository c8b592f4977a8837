"""Sound whose layout or rate changes inside one file: every sentence at its time."""

from __future__ import annotations

import pytest

FILES = ("dvb.ac3", "dvb.ts", "mono-stereo.mp3", "radio.aac", "spots.mp3")


def test_times_do_not_depend_on_what_changes_inside_a_file(made, main_job):
    ran = main_job(made("01-params-change"))
    rows = ran.rows()
    control = rows.pop("control.flac")
    assert ran.code == 0
    assert set(rows) == set(FILES)
    assert [round(segment["start"]) for segment in control["segments"]] == [0, 6, 12]
    for row in rows.values():
        assert (row["status"], row["transcription"]) == ("ok", control["transcription"])
        assert row["duration_sec"] == pytest.approx(18, abs=0.2)
        starts = [segment["start"] for segment in row["segments"]]
        assert starts == pytest.approx([segment["start"] for segment in control["segments"]], abs=0.2)
