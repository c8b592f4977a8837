from __future__ import annotations

import pytest

from transforms.engines.catalog import ModelError
from transforms.engines.decoding import Decoded, Detected, TokenIds, heard, split_at_timestamps
from transforms.engines.verdict import USUAL
from transforms.records import Segment

FIRST = 1000  # a made-up id of the first timestamp
SAID = (Segment(0.0, 1.0, "so", "en"),)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([FIRST, 1, 2, FIRST + 50], [(0.0, 1.0, [1, 2])]),
        ([FIRST, 1, FIRST + 50, FIRST + 100, 2, FIRST + 150], [(0.0, 1.0, [1]), (2.0, 3.0, [2])]),
        ([FIRST, 1, FIRST + 50, FIRST + 50, 2], [(0.0, 1.0, [1]), (1.0, 4.0, [2])]),  # left open
        ([1, 2], [(0.0, 4.0, [1, 2])]),  # no timestamps at all
        ([FIRST + 50, 1, FIRST], [(1.0, 1.0, [1])]),  # running backwards
        ([FIRST, 1, FIRST + 1500], [(0.0, 4.0, [1])]),  # beyond the window
        ([FIRST, FIRST + 50], []),
        ([FIRST, 1, FIRST + 150, FIRST + 210, 2, FIRST + 300], [(0.0, 3.0, [1])]),  # behind the end of the audio
        ([FIRST, 1, FIRST + 200, FIRST + 200, 2], [(0.0, 4.0, [1])]),
        ([FIRST, 1, FIRST + 300, 2, 3], [(0.0, 4.0, [1])]),
        ([FIRST + 199, 1, FIRST + 300], [(3.98, 4.0, [1])]),
        ([], []),
    ],
)
def test_tokens_are_cut_at_timestamps(tokens, expected):
    assert split_at_timestamps(tokens, FIRST, 4.0) == expected


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "is_silent"),
    [(0.7, -1.1, True), (0.7, -0.9, False), (0.5, -2.0, False), (0.6, -1.1, False)],
)
def test_a_window_is_silent_only_where_its_text_is_unsure_too(no_speech_prob, avg_logprob, is_silent):
    text = Decoded(SAID, avg_logprob, truncated=True)
    for found, main in (
        (Detected("en", 1.0, no_speech_prob), text),
        (Detected("en", 1.0, None), text._replace(no_speech_prob=no_speech_prob)),
    ):
        said = heard(found, main, {"transcribe": main}, USUAL)
        assert said.texts == {"transcribe": () if is_silent else SAID}
        assert (said.no_speech_prob, said.truncated) == (no_speech_prob, not is_silent)


def test_a_loop_stays_where_the_window_is_silent_so_that_it_is_seen():
    decoded = Decoded((Segment(0.0, 2.0, "का " * 448, "hi"),), -2.0, truncated=True)
    said = heard(Detected("hi", 1.0, 0.99), decoded, {"transcribe": decoded}, USUAL)
    assert (len(said.texts["transcribe"]), said.truncated) == (1, True)


def test_ids_come_from_the_tokenizer_where_no_generation_config_tells_them():
    tokens = ["<|endoftext|>", "<|startoftranscript|>", "<|hi|>", "<|en|>", "<|translate|>", "<|transcribe|>"]
    known = {token: number for number, token in enumerate([*tokens, "<|nospeech|>", "<|notimestamps|>"])}
    ids = TokenIds({}, known.get)
    assert (ids.end, ids.start, ids.no_speech, ids.first_timestamp) == (0, 1, 6, 8)
    assert list(ids.languages.items()) == [("hi", 2), ("en", 3)]
    assert ids.prompt("en", "translate") == [1, 3, 4]
    assert TokenIds({"is_multilingual": False}, known.get).prompt("en", "transcribe") == [1]
    with pytest.raises(ModelError, match="not a whole Whisper"):
        TokenIds({}, {"<|en|>": 3}.get)
