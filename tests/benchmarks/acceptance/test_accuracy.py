from __future__ import annotations

import importlib.resources
import json
import random

import pytest
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from beam_pipeline.outputs.word_error import TextComparison, compare_texts
from benchmarks.acceptance.accuracy import Heard, in_other_script, score, whisper_plain, worst
from benchmarks.acceptance.fleurs import Utterance

SAID = "राम बाज़ार से पानी लाया"


def scored(*pairs, language="hi"):
    """The score of texts that were said and heard; None was a dead letter."""
    spoken = [Utterance(f"hi_in/{n}.wav", language, said, 2.0) for n, (said, _) in enumerate(pairs)]
    heard = {
        each.id: Heard(failure="decode_failed") if text is None else Heard(text, language)
        for each, (_, text) in zip(spoken, pairs, strict=True)
    }
    return score(spoken, heard)


def test_each_kind_of_error_is_counted_over_the_words_of_all_utterances():
    got = scored((SAID, "राम बाज़ार को पानी"), ("सीता आई", "सीता घर आई"), ("हाँ", "हाँ।"))
    assert (got.substitutions, got.deletions, got.insertions) == (1, 1, 1)
    assert (got.utterances, got.words, got.wer) == (3, 8, 3 / 8)
    assert got.audio_s == 6.0


def test_a_character_is_a_letter_or_a_sign():
    got = scored(("पानी है", "पाना है"))  # 7 with the space
    assert (got.cer, got.wer) == (1 / 7, 1 / 2)


def test_a_wrong_vowel_sign_is_an_error_though_it_is_none_as_published():
    got = scored(("मोहन की बेटी आई", "मोहन का बेटा आए"))
    assert (got.wer, got.whisper_wer) == (3 / 4, pytest.approx(1 / 6))  # as published: म हन क ब ट आई
    assert got.substitutions == 3


def test_danda_punctuation_composition_and_joiners_are_no_error():
    assert scored(("राम आया क़लम लाया", "राम आया। \u0915\u093cलम, ला\u200dया॥")).wer == 0


def test_english_is_read_as_whisper_was_scored():
    assert scored(("i'll buy twenty five colours", "I will buy 25 colors."), language="en").wer == 0


def test_a_dead_letter_leaves_out_all_its_words():
    got = scored((SAID, None), (SAID, SAID))
    assert (got.failed, got.deletions, got.wer) == (1, 5, 1 / 2)
    assert got.language_right == 1


@pytest.mark.parametrize(
    ("text", "language", "other"),
    [
        ("Ram bazaar se paani laya", "hi", True),
        ("رام بازار سے پانی لایا", "hi", True),
        ("राम ने WhatsApp खोला।", "hi", False),
        ("राम आया", "en", True),
        ("He said नमस्ते to me", "en", False),
        ("2024, 11:30!", "hi", False),  # no letters
        ("", "hi", False),
    ],
)
def test_the_script_of_a_text_is_that_of_most_of_its_letters(text, language, other):
    assert in_other_script(text, language) is other


def test_transcripts_in_another_script_are_counted():
    assert scored((SAID, "Ram bazaar se paani laya"), (SAID, SAID)).other_script == 1


def test_a_transcript_that_runs_away_is_counted():
    twice, more = f"{SAID} {SAID}", f"{SAID} {SAID} है"
    assert scored((SAID, twice), (SAID, more)).ran_away == 1


def test_a_wrong_or_missing_language_is_not_right():
    spoken = [Utterance(f"hi_in/{n}.wav", "hi", SAID, 1.0) for n in range(3)]
    languages = ("hi", "ur", "")
    heard = {each.id: Heard(SAID, code) for each, code in zip(spoken, languages, strict=True)}
    assert score(spoken, heard).language_right == 1


def test_word_errors_are_those_that_the_rest_of_the_software_counts():
    chosen = random.Random(1)
    vocabulary = ["पानी", "बाज़ार", "राम", "आया", "को", "है", "शहर"]
    pairs = [[" ".join(chosen.choices(vocabulary, k=chosen.randint(1, 20))) for _ in range(2)] for _ in range(50)]
    counted = TextComparison()
    for pair in pairs:
        counted = counted.plus(compare_texts(*pair, "hi"))
    assert scored(*pairs).wer == pytest.approx(counted.word_error)


def test_texts_read_as_published_are_read_as_transformers_reads_them():
    spellings = importlib.resources.files("whisper_normalizer") / "normalizers" / "english.json"
    english, basic = EnglishTextNormalizer(json.loads(spellings.read_text())), BasicTextNormalizer()
    for text in (
        "Mr. O'Neill's favourite colour isn't $20 million",
        "one hundred and five per cent, uh, [noise] of it",
    ):
        assert whisper_plain(text, "en") == english(text)
    for text in ("क्या, डॉक्टर आज आएगा?", "श्री राम ने (हँसकर) कहा।"):
        assert whisper_plain(text, "hi").split() == basic(text).split()


def test_the_worst_come_first_and_those_without_an_error_not_at_all():
    texts = {"a": "राम आया घर", "b": SAID, "c": ""}
    spoken = [Utterance(name, "hi", SAID, 1.0) for name in texts]
    heard = {name: Heard(text, "hi") for name, text in texts.items()}
    assert [(rate, each.id) for rate, each in worst(spoken, heard, 3)] == [(1.0, "c"), (0.8, "a")]
    assert len(worst(spoken, heard, 1)) == 1
