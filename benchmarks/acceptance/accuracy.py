"""How much of what was said is in a run's transcripts.

jiwer counts the errors. English is read by Whisper's normaliser: "colour" is "color", "I'll" is "I will", "twenty" is
"20". Hindi keeps its marks, as everywhere in this software (`word_error.words`): Whisper's normaliser for all other
languages puts spaces in their place, so that a word with a wrong vowel sign counts as right. That figure is given
too, since it is the published one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jiwer
import regex
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from beam_pipeline.outputs.word_error import words
from benchmarks.acceptance.fleurs import Utterance

SCRIPTS = {"hi": "Devanagari", "en": "Latin"}
RAN_AWAY = 2  # times as many words as were said


class Heard(NamedTuple):
    """What a run made of one recording."""

    text: str = ""  # of a dead letter too: all its words are left out
    language: str = ""
    failure: str = ""  # the dead letter's code


class Score(NamedTuple):
    """The figures of one language. Rates are shares of what is in the reference."""

    utterances: int
    failed: int
    audio_s: float
    words: int
    wer: float  # word errors, marks kept
    cer: float  # errors in characters (code points), spaces among them
    whisper_wer: float  # word errors as OpenAI's published figures count them
    substitutions: int  # words
    deletions: int
    insertions: int
    other_script: int  # utterances written mostly in letters of another script
    # utterances with over RAN_AWAY times the words that were said
    ran_away: int
    language_right: int  # utterances; a dead letter has none


def score(utterances: Sequence[Utterance], heard: Mapping[str, Heard]) -> Score:
    """The figures of one language's utterances, of which each was heard or failed."""
    language = utterances[0].language
    said, texts = [each.text for each in utterances], [heard[each.id].text for each in utterances]
    plain = [[_plain(text, language) for text in side] for side in (said, texts)]
    by_word, by_character = jiwer.process_words(*plain), jiwer.process_characters(*plain)
    lengths = zip(by_word.references, by_word.hypotheses, strict=True)
    return Score(
        utterances=len(utterances),
        failed=sum(bool(heard[each.id].failure) for each in utterances),
        audio_s=sum(each.duration_s for each in utterances),
        words=sum(map(len, by_word.references)),
        wer=by_word.wer,
        cer=by_character.cer,
        whisper_wer=jiwer.wer(*([whisper_plain(text, language) for text in side] for side in (said, texts))),
        substitutions=by_word.substitutions,
        deletions=by_word.deletions,
        insertions=by_word.insertions,
        other_script=sum(in_other_script(text, language) for text in texts),
        ran_away=sum(len(found) > RAN_AWAY * len(expected) for expected, found in lengths),
        language_right=sum(heard[each.id].language == language for each in utterances),
    )


def worst(utterances: Sequence[Utterance], heard: Mapping[str, Heard], number: int) -> list[tuple[float, Utterance]]:
    """The utterances with the highest word error, with it; none without any."""
    rates = [(jiwer.wer(_plain(u.text, u.language), _plain(heard[u.id].text, u.language)), u) for u in utterances]
    return sorted((rate for rate in rates if rate[0]), reverse=True)[:number]


def _plain(text: str, language: str) -> str:
    return _english()(text) if language == "en" else " ".join(words(text, language))


def whisper_plain(text: str, language: str) -> str:
    """The text as OpenAI's normalisers leave it, which is what published figures of Whisper are of."""
    return _english()(text) if language == "en" else BasicTextNormalizer()(text)


@functools.cache
def _english() -> Callable[[str], str]:
    return EnglishTextNormalizer()


def in_other_script(text: str, language: str) -> bool:
    """Whether less than half of a text's letters are of its language's script: Hindi in Roman or Urdu letters."""
    letters = regex.findall(r"[\p{L}\p{M}]", text)
    own = regex.findall(rf"[[\p{{L}}\p{{M}}]&&\p{{Script={SCRIPTS[language]}}}]", text, regex.VERSION1)
    return 2 * len(own) < len(letters)
