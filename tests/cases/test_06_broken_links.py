"""A clone without its contents: each recording that was not fetched is told of, and how to fetch it."""

from __future__ import annotations

import json


def test_what_was_not_fetched_is_a_dead_letter_that_says_how(made, main_job):
    ended = main_job(made("06-broken-links"))
    assert ended.code == 3, ended.said
    assert {name: row["transcription"] for name, row in ended.rows().items()} == {"here.mp3": "राम आज बाज़ार जाएगा।"}
    letters = {name: (row["code"], row["detail"]) for name, row in ended.rows("dead_letters").items()}
    annex = ("not_fetched", "a link of git-annex: run `git annex get` in its folder")
    assert letters == {
        "annexed-1.mp3": annex,
        "annexed-2.mp3": annex,
        "pointer.mp3": ("not_fetched", "a pointer to 48219 bytes of Git LFS: run `git lfs pull` in its folder"),
    }
    assert json.loads((ended.output / "summary.json").read_text())["skipped"] == {"linked_folder": 1}
