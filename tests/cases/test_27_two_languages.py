"""An interpreter's recording: each sentence in its own language, however short the pauses between the turns."""

from __future__ import annotations

SAID = [
    ("hi", "मुझे शाम को चाय चाहिए।"),
    ("en", "I need tea in the evening."),
    ("hi", "मोहन बाज़ार से पानी लाया।"),
    ("en", "Mohan brought water from the market."),
]
STARTS = {"apart.flac": [0, 5, 9, 14], "close.flac": [0, 3, 5, 7]}


def test_every_turn_is_in_the_language_that_it_is_spoken_in(made, main_job):
    ran = main_job(made("27-two-languages"), "--translate_to", "en")
    assert ran.code == 0, ran.said
    rows = ran.rows()
    said = {name: [(each["language"], each["text"]) for each in row["segments"]] for name, row in rows.items()}
    assert said == {"apart.flac": SAID, "close.flac": SAID}
    assert {name: row["language"] for name, row in rows.items()} == {"apart.flac": "hi", "close.flac": "hi"}
    english = ["I need tea in the evening."] * 2 + ["Mohan brought water from the market."] * 2
    for name, row in rows.items():
        assert [each["translation"] for each in row["segments"]] == english
        times = [time for each in row["segments"] for time in (each["start"], each["end"])]
        assert times == sorted(times)
        assert [round(each["start"]) for each in row["segments"]] == STARTS[name]
