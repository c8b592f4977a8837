"""Loops, lost and invented text are told from right speech of any length, in both languages."""

from __future__ import annotations

import json
import random

import pytest

from examples.demo_model.sentences import demo_draw
from tests.conftest import SAMPLES
from transforms.dead_letters import HARMLESS, PROBLEMS
from transforms.dofns.figures import FIGURES, TRANSCRIBE
from transforms.engines.verdict import USUAL, Thresholds, compression_ratio, is_silence, judge, loops, speech_s
from transforms.records import MediaChunk, MediaFile, Segment, SpeechWindow, WindowTranscription

RATE = 16_000
TRUTH = json.loads((SAMPLES / "truth.json").read_text())
CODES = {
    "not_a_number", "repetition", "too_dense", "token_limit", "behind_end", "too_sparse", "low_confidence",
}  # fmt: skip


def window(seconds, pauses=()):
    chunk = MediaChunk(MediaFile("m", "m", "/m", "v"))
    return SpeechWindow(chunk, 0, 0, bytes(2 * round(seconds * RATE)), pauses=tuple(pauses))


def heard(text, seconds, task="transcribe", **figures):
    segments = (Segment(0.0, float(seconds), text, "hi"),) if text else ()
    known = {"avg_logprob": -0.2, "no_speech_prob": 0.1, **figures}
    return WindowTranscription({task: segments}, "hi", 1.0, **known)


def code(text, seconds, pauses=(), most=USUAL, **figures):
    found = judge(window(seconds, pauses), heard(text, seconds, **figures), most)
    return found and found.code


def spoken(key):
    """(sentence, seconds) of everything that is said in the sample media, in the order in which it is."""
    return [
        [(each[key], each["end"] - each["start"]) for each in media["utterances"] if each.get(key)]
        for media in TRUTH.values()
    ]


@pytest.mark.parametrize("key", ["text", "translation"])
def test_right_sentences_have_no_verdict_however_many_make_a_window(key):
    judged = 0
    for said in spoken(key):
        for first in range(len(said)):
            for last in range(first + 1, len(said) + 1):
                seconds = sum(each for _, each in said[first:last])
                if seconds <= 30:
                    text = " ".join(sentence for sentence, _ in said[first:last])
                    assert code(text, seconds, task="transcribe" if key == "text" else "translate") is None, text
                    judged += 1
    assert judged > 200


@pytest.mark.parametrize("language", ["hindi", "english"])
def test_sentences_of_a_small_grammar_are_no_loop_although_they_resemble_each_other(language):
    draw = random.Random(7)
    for count in [*range(1, 19)] * 20:
        text = " ".join(getattr(demo_draw(draw.randrange(5000)), language) for _ in range(count))
        assert code(text, 2.0 * count) is None, text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("no, no, no", 1.5),
        ("No! No! No! No! No! No! No!", 3),
        ("हाँ हाँ", 0.8),
        ("नहीं, नहीं, नहीं, नहीं।", 2),
        ("Please wait. Please wait. Please wait.", 5),
        ("ha ha ha ha ha ha ha ha", 2),
        ("one two three one two three one two three", 4),
        ("He said it twice in a row, word for word. He said it twice in a row, word for word.", 7),
        ("Yes.", 0.4),
        ("今日は天気がいいので、公園まで歩いて行きましょう。", 5),
        ("Donaudampfschifffahrtsgesellschaftskapitän, Rechtsschutzversicherungsgesellschaften", 6),
        ("", 3),
    ],
)
def test_what_is_said_again_on_purpose_or_in_another_script_is_fine(text, seconds):
    assert code(text, seconds) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("ka " * 448, 20),
        ("का" * 448, 20),
        ("का " * 448, 30),
        ("I'm going to go to the temple. " * 6, 20),
        ("मैं मंदिर जाता हूँ। " * 6, 20),
        ("Thank you. " * 6, 12),
        ("谢谢观看" * 12, 15),
        ("We met at the station, and he told me of the new house by the river. " + "And then. " * 12, 28),
    ],
)
@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_a_loop_is_a_loop(text, seconds, task):
    assert code(text.strip(), seconds, task=task) == "repetition"


@pytest.mark.parametrize(
    "figures", [{"no_speech_prob": 0.99, "avg_logprob": -2.0}, {"truncated": True}, {"avg_logprob": -1.5}]
)
def test_a_loop_is_one_whatever_else_is_wrong(figures):
    assert code("का " * 448, 20, **figures) == "repetition"


def test_the_order_of_rules_does_not_let_silence_excuse_a_loop():
    for text, silent in (("and thanks", True), ("का " * 448, False), ("", True)):
        assert is_silence(0.99, -2.0, heard(text, 20).texts["transcribe"], USUAL) == silent


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "silent"),
    [(0.61, -1.001, True), (0.6, -2.0, False), (0.99, -1.0, False), (0.0, -2.0, False)],
)
def test_a_window_is_silent_where_the_model_says_so_and_is_unsure_of_its_text(no_speech_prob, avg_logprob, silent):
    assert is_silence(no_speech_prob, avg_logprob, heard("a", 1).texts["transcribe"], USUAL) == silent


def distinct(count):
    """So many words, no two alike."""
    draw = random.Random(count)
    return " ".join("".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(count))


def test_more_text_than_anybody_says_is_too_dense():
    assert code(distinct(400), 5) == "too_dense"
    assert code(distinct(400), 5, task="translate") == "too_dense"
    assert code(distinct(180), 30) is None  # an auctioneer
    assert code(distinct(3), 0.3) is None  # cut tight
    assert code(distinct(400).replace(" ", ""), 30) == "too_dense"


def test_hardly_any_text_for_much_speech_is_too_sparse():
    assert code("Thank you all.", 25) == "too_sparse"
    assert code("धन्यवाद आप सब", 25) == "too_sparse"
    assert code("", 25) == "too_sparse"
    assert code("Thank you all.", 7) is None  # of little speech nothing can be told
    assert code(distinct(14), 25) is None  # somebody dictates
    assert (
        code("我们明天早上去学校看老师然后一起去公园走走好不好你说呢我觉得今天天气不错可以带上孩子们一起去玩", 20)
        is None
    )


def test_the_long_pauses_of_a_window_are_no_speech():
    pauses = [(2 * RATE, 12 * RATE), (14 * RATE, 24 * RATE)]
    assert speech_s(window(26, pauses)) == 6.0
    assert code("Thank you all.", 26, pauses) is None


def test_nothing_heard_is_no_verdict_where_the_model_takes_it_for_no_speech_or_has_no_figures():
    assert code("", 25, no_speech_prob=0.9) is None
    assert code("", 25, avg_logprob=None) is None
    assert code("Thank you all.", 25, no_speech_prob=0.9) == "too_sparse"  # sure of it


def test_an_unsure_text_is_told_and_leaves_the_transcript_whole():
    assert code("a b", 2, avg_logprob=-1.001) == "low_confidence"
    assert code("a b", 2, avg_logprob=-1.0) is None
    assert code("a b", 2, avg_logprob=None) is None
    assert code("", 2, avg_logprob=-3.0) is None
    assert "low_confidence" in HARMLESS


def test_text_behind_the_end_of_the_audio_was_not_said():
    texts = {"transcribe": (Segment(0.0, 4.9, "a", "en"), Segment(5.0, 5.0, "b", "en"))}
    assert judge(window(5), WindowTranscription(texts), USUAL) is None
    late = {"transcribe": (Segment(0.0, 4.9, "a", "en"), Segment(5.5, 8.0, "b", "en"))}
    assert judge(window(5), WindowTranscription(late), USUAL).code == "behind_end"


def test_a_text_without_an_end_and_figures_that_are_no_numbers():
    assert code("a b c", 2, truncated=True) == "token_limit"
    assert code("a b c", 2, unmeasured=True) == "not_a_number"
    greedy = judge(window(2), heard("a", 2, unmeasured=True), USUAL)
    assert not greedy.again  # the same numbers would come again
    assert judge(window(2), heard("a", 2, truncated=True), USUAL).again


def test_the_compression_ratio_is_that_of_openai_whisper_and_the_same_for_every_script():
    english = "I'm going to go to the temple. " * 6
    assert compression_ratio(english) == pytest.approx(4.77, abs=0.02)
    assert compression_ratio("") == 0.0
    turned = english.translate({ord(letter): 0x900 + ord(letter) for letter in set(english)})
    assert compression_ratio(turned) == pytest.approx(compression_ratio(english), rel=0.1)


@pytest.mark.parametrize(
    ("text", "seconds", "most"),
    [
        ("Thank you. " * 6, 12, {"max_repeats": 7}),
        (distinct(400), 5, {"max_words_per_s": 100, "max_chars_per_s": 500}),
        ("Thank you all.", 25, {"min_words_per_s": 0, "min_chars_per_s": 0}),
    ],
)
def test_every_threshold_can_be_moved(text, seconds, most):
    assert code(text, seconds) is not None
    assert code(text, seconds, most=Thresholds(**most)) is None


def test_a_text_that_packs_well_needs_fewer_repeats_in_a_row():
    text = "The train to the coast leaves at nine from the second platform. " * 5
    assert compression_ratio(text) > 2.4
    assert loops(text, USUAL)
    assert not loops(text, Thresholds(compression_ratio_threshold=10))


def test_every_code_is_explained_and_counted():
    assert PROBLEMS.keys() >= CODES
    assert {name for name in FIGURES if name.startswith("windows_")} == {f"windows_{each}" for each in CODES}
    assert all(FIGURES[f"windows_{each}"][1] == (TRANSCRIBE,) for each in CODES)
