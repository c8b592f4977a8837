"""Languages as people write them come out as the code that the model knows, or as a line that says what to write."""

from __future__ import annotations

import subprocess
import sys

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from transforms.engines.languages import NAMES, WHISPER, known_code, target_code


def test_the_table_is_that_of_transformers():
    assert {code: names[0] for code, names in NAMES.items()} == LANGUAGES
    assert {name: known_code(name) for name in TO_LANGUAGE_CODE} == TO_LANGUAGE_CODE
    assert {code: known_code(code) for code in WHISPER} == {code: code for code in WHISPER}


def test_no_name_stands_for_two_languages():
    names = [name for group in NAMES.values() for name in group]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("code", "written"),
    [
        ("hi", ["hi", "HI", " hi ", "hin", "Hin", "hi-IN", "hi_IN", "Hindi", "HINDI", "हिन्दी", "हिंदी", "hin_Deva"]),
        ("en", ["en", "eng", "en-US", "en_GB", "english", "English (US)"]),
        ("zh", ["zh", "zh-CN", "zh-TW", "zho", "chi", "cmn", "Mandarin", "zh-Hant"]),
        ("yue", ["yue", "zh-yue", "Cantonese", "yue-HK"]),
        ("jw", ["jw", "jv", "jav"]),
        ("tl", ["tl", "fil", "tgl", "fil-PH"]),
        ("no", ["no", "nb", "nob", "nb-NO", "nor"]),
        ("nn", ["nn", "nno"]),
        ("he", ["he", "iw", "heb"]),
        ("id", ["id", "in"]),
        ("yi", ["yi", "ji"]),
        ("ro", ["ro", "mo", "rum", "ron"]),
        ("de", ["de", "ger", "deu", "de-AT", "Deutsch"]),
        ("ar", ["ar", "ara", "arb", "ar-EG"]),
        ("fa", ["fa", "per", "pes", "prs", "Farsi"]),
        ("pt", ["pt-BR", "Portuguese (Brazil)"]),
        ("", ["", "  ", "auto", "AUTO", "und", "mul"]),
    ],
)
def test_what_people_write_is_understood(code, written):
    assert {text: known_code(text) for text in written} == dict.fromkeys(written, code)


@pytest.mark.parametrize(
    "text", ["klingonese", "x", "12", "hi, en", "hi en", "xx", "3", "en-", "हिन्", "\0", "a" * 99]
)
def test_what_is_no_language_is_refused_with_what_to_write(text):
    with pytest.raises(ValueError, match="write a language code, such as hi or en"):
        known_code(text)
    with pytest.raises(ValueError, match="write a language code, such as hi or en"):
        target_code(text)


def test_a_slip_of_the_pen_is_told_of():
    with pytest.raises(ValueError, match="did you mean hindi"):
        known_code("Hindii")


def test_what_the_model_does_not_know_is_refused_with_what_it_knows():
    with pytest.raises(ValueError, match="does not know the language 'French'; it knows en, hi"):
        known_code("French", frozenset({"hi", "en"}))
    with pytest.raises(ValueError, match="does not know the language 'bho'; it knows codes such as"):
        known_code("bho")


def test_a_models_own_codes_come_first():
    assert known_code("jv", frozenset({"jv"})) == known_code("jw", frozenset({"jv"})) == "jv"
    assert known_code("bho", frozenset({"bho"})) == "bho"
    assert known_code("mul", frozenset({"mul"})) == "mul"
    with pytest.raises(ValueError, match="does not know the language 'yue'"):
        known_code("yue", WHISPER - {"yue"})


@pytest.mark.parametrize(
    ("text", "code"),
    [("", ""), ("English", "en"), ("fr-CA", "fr"), ("deu", "de"), ("jv", "jw"), ("zu", "zu"), ("zul", "zu")],
)
def test_a_language_to_translate_to_need_not_be_one_of_whispers(text, code):
    assert target_code(text) == code


@pytest.mark.parametrize("text", ["auto", "und", "mul"])
def test_a_language_to_translate_to_cannot_be_found(text):
    with pytest.raises(ValueError, match="write a language code"):
        target_code(text)


def test_nothing_heavy_is_imported():
    code = (
        "import sys, transforms.engines.languages; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
