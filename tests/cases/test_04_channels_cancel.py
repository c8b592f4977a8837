"""Channels of opposite polarity, and many channels without a layout, come out whole."""

from __future__ import annotations

import pytest

# the second sentence is English, 0.3 s behind it and in the same window
FIRST = "राम आज बाज़ार जाएगा।"
FILES = {"control.m4a", "nearly-opposite.wav", "opposite.wav", "polywav10.wav", "right-only.wav", "timeline60.wav"}


def test_both_sentences_come_out_of_every_file(made, main_job):
    ran = main_job(made("04-channels-cancel"))
    assert ran.code == 0, ran.said
    rows = ran.rows()
    assert {name: (row["segments"][0]["text"], row["status"]) for name, row in rows.items()} == dict.fromkeys(
        FILES, (FIRST, "ok")
    )
    for name, row in rows.items():
        assert len(row["segments"]) == 2, name
        assert row["speech_sec"] == pytest.approx(rows["control.m4a"]["speech_sec"], abs=0.2), name
        assert row["problems"] == [], name
    assert rows["timeline60.wav"]["channels"] == 60
    assert not ran.rows("dead_letters")
