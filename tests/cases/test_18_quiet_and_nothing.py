"""Speech far below its usual level is heard; hum, noise, tones and clicks are not."""

from __future__ import annotations

FIRST, SECOND = "राम आज बाज़ार जाएगा।", "मुझे शाम को चाय चाहिए।"
TOO_QUIET = ("quiet-20.flac", "quiet-30.flac", "quiet-40.flac", "quiet-50.flac", "quiet-60.flac", "far-away.flac")


def test_the_words_come_out_however_quiet_and_nothing_out_of_noise(made, main_job):
    ran = main_job(made("18-quiet-and-nothing"))
    assert ran.code == 0, ran.said
    rows = ran.rows()
    texts = {name: [segment["text"] for segment in row["segments"]] for name, row in rows.items()}
    nothing = {name: [] for name in ("hum.flac", "pink.flac", "dial.wav", "click.wav")}
    spoken = [name for name in rows if name not in nothing]
    assert texts == {**{name: [FIRST, SECOND] for name in spoken}, "far-away.flac": [FIRST, SECOND] * 2, **nothing}
    assert {name: row["status"] for name, row in rows.items()} == {
        name: "empty" if name in nothing else "ok" for name in rows
    }
    codes = {name: [problem["code"] for problem in row["problems"]] for name, row in rows.items()}
    assert codes == {name: ["quiet"] if name in TOO_QUIET else [] for name in rows}
    assert [round(segment["start"]) for segment in rows["far-away.flac"]["segments"]] == [0, 4, 6, 10]
