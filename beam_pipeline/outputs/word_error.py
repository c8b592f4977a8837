"""The word error rate between two texts, in any script."""

from __future__ import annotations

import unicodedata
from typing import Any, NamedTuple

from rapidfuzz.distance import Levenshtein

UNSPACED = {"zh", "yue", "ja", "th", "lo", "my", "km"}  # written without spaces: a character counts as a word


class TextComparison(NamedTuple):
    """Two texts of one recording, or of several together."""

    media: int = 0
    identical: int = 0
    words: int = 0  # of the first, the reference
    errors: int = 0  # words put in, left out, or in place of another

    @property
    def word_error(self) -> float:
        """Errors by word of the reference; one without words counts as one of a single word."""
        return self.errors / max(self.words, 1)

    def plus(self, other: TextComparison) -> TextComparison:
        return TextComparison(*(one + more for one, more in zip(self, other, strict=True)))

    def to_json(self) -> dict[str, float]:
        return {**self._asdict(), "word_error": round(self.word_error, 4)}


def compare_texts(reference: str, text: str, language: str) -> TextComparison:
    """One recording's texts. Punctuation, case and the way in which characters are composed make no error."""
    expected = words(reference, language)
    errors = 0 if reference == text else Levenshtein.distance(expected, words(text, language))
    return TextComparison(1, int(reference == text), len(expected), errors)


def words(text: str, language: str) -> list[str]:
    """The words of a text as they are compared; of a language that is written without spaces, its characters."""
    plain = unicodedata.normalize("NFC", text.casefold()).translate(_LETTERS)
    return list("".join(plain.split())) if language in UNSPACED else plain.split()


class _Letters(dict[int, Any]):
    """What `str.translate` makes of each character: letters, digits and marks, such as Devanagari's vowels, stay."""

    def __missing__(self, code: int) -> int | str | None:
        category = unicodedata.category(chr(code))
        kept: int | str | None = code if category[0] in "LMN" else " "
        if category == "Cf" or chr(code) in "'’":  # joiners, and what stands inside a word
            kept = None
        self[code] = kept
        return kept


_LETTERS = _Letters()
