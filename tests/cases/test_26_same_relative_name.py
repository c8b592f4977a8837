"""The cards of two cameras: the same name on both is two rows, told apart, and whatever comes later renames none."""

from __future__ import annotations

import shutil

HINDI, ENGLISH = "राम आज बाज़ार जाएगा।", "The doctor will come at five o'clock."


def texts(ended):
    assert ended.code == 0, ended.said
    return {name: row["transcription"] for name, row in ended.rows().items()}


def test_two_inputs_with_the_same_relative_name_are_told_apart(made, main_job):
    ended = main_job(made("26-same-relative-name"), "--input", "day1", "day2")
    assert texts(ended) == {"day1/clip.mp3": HINDI, "day2/clip.mp3": ENGLISH}
    assert (ended.output / "media" / "day1" / "clip.txt").read_text() == f"{HINDI}\n"


def test_one_that_comes_later_renames_nothing(made, main_job, tmp_path):
    folder = shutil.copytree(made("26-same-relative-name"), tmp_path / "cards")
    assert texts(main_job(folder, "--input", "day1")) == {"clip.mp3": HINDI}
    shutil.copy(folder / "day2" / "clip.mp3", folder / "day2" / "other.mp3")
    shutil.copy(folder / "day2" / "clip.mp3", folder / "day1" / "clip.wav")  # the same stem
    for _ in range(2):
        ended = main_job(folder, "--input", "day2", "day1")
        assert texts(ended) == {
            "clip.mp3": HINDI, "clip.wav": ENGLISH, "day2/clip.mp3": ENGLISH, "other.mp3": ENGLISH
        }  # fmt: skip
        names = sorted(path.relative_to(ended.output / "media") for path in ended.output.glob("media/**/*.srt"))
        assert [str(name) for name in names if "~" not in str(name)] == ["clip.srt", "day2/clip.srt", "other.srt"]
        assert len(names) == 4
    assert (ended.output / "media" / "clip.txt").read_text() == f"{HINDI}\n"
