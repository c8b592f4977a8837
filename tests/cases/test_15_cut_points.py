"""Files that are cut into chunks say what they say whole, once each and at its time."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.conftest import media_of
from transforms.decode_audio import DecodeConfig, decode
from transforms.media.chunks import ChunkConfig, chunks_of
from transforms.records import SAMPLE_RATE_HZ, MediaChunk, SpeechWindow

SETTINGS = DecodeConfig(chunks=ChunkConfig(chunk_minutes=2))
FIRST_S = {"late.mp4": 8.3, "trimmed.m4a": 3.5}  # where the first sentence begins; else at 1 s
CUT_OFF = {"trimmed.m4a": 1}  # sentences
JUMPED = {
    "fragments-from-an-hour.mp4",
    "fragments.mp4",
    "hole.m4a",
    "late.mp4",
    "mp3-in.mp4",
    "mulaw.wav",
    "plain.flac",
    "quicktime.mov",
    "trimmed.m4a",
}


def place(window: SpeechWindow) -> float:
    return window.start_sample / SAMPLE_RATE_HZ


def test_every_sentence_is_in_one_window_of_one_chunk_at_its_place(made):
    for path in sorted((made("15-cut-points") / "in").iterdir()):
        whole = list(decode(MediaChunk(media_of(path)), SETTINGS))
        cut = chunks_of(MediaChunk(media_of(path), chunks=0), SETTINGS.chunks)
        found = [window for chunk in cut for window in decode(chunk, SETTINGS)]
        assert len(cut) > 1, path.name
        assert {chunk.seekable for chunk in cut} == {path.name in JUMPED}, path.name
        assert len(found) == len(whole) == 50 - CUT_OFF.get(path.name, 0), path.name
        assert [place(window) for window in found] == pytest.approx([place(each) for each in whole], abs=0.04), (
            path.name
        )
        first_s = FIRST_S.get(path.name, 1.0)
        wanted = [
            first_s + 6 * number + 20 * (path.name == "hole.m4a" and number > 21) for number in range(len(whole))
        ]
        assert [place(window) for window in found] == pytest.approx(wanted, abs=0.4), path.name
        assert [window.audio.problems for window in found if window.audio] == [()] * len(cut), path.name


def test_a_run_in_chunks_gives_the_texts_of_a_run_without(made, main_job, tmp_path):
    folder: pathlib.Path = tmp_path / "in"
    folder.mkdir()
    for name in ("ima.wav", "ms.wav", "mp3-in.wav"):
        shutil.copy(made("15-cut-points") / "in" / name, folder)

    def texts(*flags: object) -> dict[str, list[str]]:
        ran = main_job(
            tmp_path, "--formats", "json", *flags, output=str(tmp_path / "-".join(map(str, flags))), timeout=900
        )
        assert ran.code == 0, ran.said
        return {name: [segment["text"] for segment in row["segments"]] for name, row in ran.rows().items()}

    whole = texts("--chunk_minutes", 0)
    assert {len(said) for said in whole.values()} == {50}
    assert texts("--chunk_minutes", 2) == whole
