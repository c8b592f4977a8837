from __future__ import annotations

import math
import re

import pytest

from benchmarks.acceptance.accuracy import Score
from benchmarks.acceptance.verdict import LIMITS, Limit, Measured, faults_of, limits_of, lines
from tests.conftest import ROOT

SCORE = Score(
    utterances=400, failed=0, audio_s=4000.0, words=10_000, wer=0.3, cer=0.1, whisper_wer=0.2, substitutions=2000,
    deletions=700, insertions=300, other_script=0, ran_away=0, language_right=396,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "limit", "faults"),
    [
        ({}, Limit(0.3, 0.2), []),
        ({}, Limit(0.3), []),
        ({"wer": 0.3001}, Limit(0.3), ["hi_in: word error 30.01% is above 30.00%"]),
        ({"whisper_wer": 0.21}, Limit(0.3, 0.2), ["hi_in: word error as published 21.00% is above 20.00%"]),
        ({"other_script": 4}, Limit(0.3), []),
        ({"other_script": 5}, Limit(0.3), ["hi_in: 5 of 400 utterances are in another script"]),
        ({}, None, ["hi_in: no limit is known for this model: give --max_wer hi_in=SHARE"]),
    ],
)
def test_a_language_is_accepted_up_to_its_limits_and_not_above(changes, limit, faults):
    assert faults_of("hi_in", SCORE._replace(**changes), limit) == faults


def test_a_limit_that_is_given_takes_the_place_of_all_that_are_known():
    limits = limits_of("openai/whisper-large-v3", [("hi_in", 0.5)])
    assert limits["hi_in"] == Limit(0.5, math.inf, None)
    assert limits["en_us"] == LIMITS["openai/whisper-large-v3"]["en_us"]
    assert limits_of("some/model", []) == {}


def test_every_limit_is_above_the_published_figure():
    for limits in LIMITS.values():
        assert all(limit.published < limit.whisper_wer <= limit.wer for limit in limits.values())


def test_the_table_comes_last_with_a_row_for_each_language():
    measured = Measured({"hi_in": SCORE}, {"silence/hum.wav": 2}, 4000.0, 200.0)
    told = lines(measured, {"hi_in": Limit(0.34, 0.22)}, True, [])
    assert told[:3] == [
        "words heard where nobody speaks: 2 in 1 media",
        "4000 s of audio in 200 s with loading the model, 20.0 x real time",
        "ACCEPTED",
    ]
    row = ["hi_in", "400", "10000", "0", "30.00%", "34.00%", "20.00%", "22.00%", "10.00%"]
    assert told[-1].split() == [*row, "2000", "700", "300", "0", "0", "99.0%"]
    assert len(told[-1]) == len(told[-2])


def test_a_run_with_nothing_left_to_do_tells_no_speed():
    assert "real time" not in "\n".join(lines(Measured({"hi_in": SCORE}, {}, 0.0, 3.0), {}, False, ["why"]))


def test_the_limits_in_the_documentation_are_those_of_the_code():
    page = (ROOT / "docs" / "acceptance.md").read_text()
    for model, limits in LIMITS.items():
        for name, limit in limits.items():
            figures = (limit.published, limit.whisper_wer, limit.wer)
            row = rf"\| `{model}` \| `{name}` \| " + r" \| ".join(rf"{figure * 100:g} %" for figure in figures)
            assert re.search(row, page), f"{model} {name}"
