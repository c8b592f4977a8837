from __future__ import annotations

import random

import jiwer
import pytest

from beam_pipeline.outputs.word_error import TextComparison, compare_texts, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("क्या, डॉक्टर आज आएगा?", ["क्या", "डॉक्टर", "आज", "आएगा"]),  # vowel signs and virama stay
        ("राम आया। सीता गई॥", ["राम", "आया", "सीता", "गई"]),  # danda and double danda
        ("Don’t  STOP—it's 5 o'clock.", ["dont", "stop", "its", "5", "oclock"]),
        ("Straße", ["strasse"]),
        ("क्\u200dष क\u200cख", ["क्ष", "कख"]),  # joiners that are not seen
        ("«»…  \n", []),
    ],
)
def test_words_are_what_is_left_without_punctuation_and_case(text, expected):
    assert words(text, "hi") == expected


@pytest.mark.parametrize(("one", "other"), [("caf\u00e9", "cafe\u0301"), ("\u0958लम", "\u0915\u093cलम")])
def test_the_way_in_which_characters_are_composed_makes_no_error(one, other):
    assert words(one, "hi") == words(other, "hi")
    assert compare_texts(one, other, "hi") == TextComparison(1, 0, 1, 0)


def test_where_no_spaces_are_written_a_character_counts_as_a_word():
    assert compare_texts("今天天气好。", "今天天气很好", "zh") == TextComparison(1, 0, 5, 1)


def test_errors_are_those_that_jiwer_counts():
    chosen = random.Random(1)
    vocabulary = ["पानी", "बाज़ार", "राम", "आया", "को", "है", "शहर"]
    for _ in range(200):
        one, other = (" ".join(chosen.choices(vocabulary, k=chosen.randint(1, 30))) for _ in range(2))
        assert compare_texts(one, other, "hi").word_error == pytest.approx(jiwer.wer(one, other))


def test_a_text_where_there_was_none_counts_each_of_its_words():
    assert compare_texts("", "two words", "en").word_error == 2
    assert compare_texts("", "", "en") == TextComparison(1, 1, 0, 0)


def test_the_error_of_several_is_that_of_all_their_words():
    several = compare_texts("a b c d", "a b c x", "en").plus(compare_texts("e", "f", "en"))
    assert several.to_json() == {"media": 2, "identical": 0, "words": 5, "errors": 2, "word_error": 0.4}
