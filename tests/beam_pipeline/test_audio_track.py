"""`--audio_track` names a track, and can be nothing else."""

from __future__ import annotations

import pytest

from tests.conftest import SAMPLES
from tests.runs import run


@pytest.mark.parametrize("track", ["hin]anullsink;amovie=/other/file[b];[b", "0:v", "two words"])
def test_what_no_track_can_be_is_refused_before_anything_begins(track, tmp_path):
    words = ["--input", SAMPLES / "letter.flac", "--output", tmp_path / "out", "--model", "demo"]
    ran = run(*words, "--audio_track", track)
    assert ran.code == 2
    assert "give its number from 0, or its language as the file tags it" in ran.said
    assert not (tmp_path / "out").exists()
