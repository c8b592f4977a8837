"""Every failure becomes a letter with a stable code and advice."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.conftest import ROOT, media_of
from transforms.dead_letters import CODES, RETRYABLE, MediaError, attempt, dead_letter

MEDIA = media_of(pathlib.Path("a.mp3"))


@pytest.mark.parametrize("code", CODES)
def test_every_code_tells_what_is_wrong_and_what_to_do(code):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
    assert re.fullmatch(r"[^.].{20,}\.", CODES[code])


def test_only_known_codes_are_retryable():
    assert set(CODES) >= RETRYABLE
    assert "unexpected" in RETRYABLE
    assert not RETRYABLE & {"empty_file", "not_media", "no_audio_track", "too_long", "bad_manifest"}


def test_every_code_that_the_steps_use_is_known():
    sources = "".join(path.read_text() for path in (ROOT / "transforms").rglob("*.py"))
    used = set(re.findall(r'MediaError\(\s*"(\w+)"', sources)) | set(re.findall(r'return "(\w+)"', sources))
    assert "empty_file" in used
    assert {code for code in used if "_" in code} - set(CODES) == set()


@pytest.mark.parametrize("code", CODES)
def test_a_media_error_keeps_its_code_its_advice_and_its_detail(code):
    letter = dead_letter("DecodeAudio", MEDIA, MediaError(code, "last words"))
    assert letter == (MEDIA, "DecodeAudio", code, CODES[code], "last words", code in RETRYABLE)


def test_a_code_that_nobody_documented_is_refused():
    with pytest.raises(KeyError):
        MediaError("no_such_code")


def test_a_media_error_says_everything_when_it_is_printed():
    assert str(MediaError("missing", "/a/b")) == f"missing: {CODES['missing']} /a/b"
    assert str(MediaError("missing")) == f"missing: {CODES['missing']}"


@pytest.mark.parametrize("error", [ValueError("broke"), KeyError("x"), MemoryError(), OSError(28, "No space left")])
def test_an_unforeseen_error_becomes_unexpected_with_its_words_as_detail(error):
    def work():
        raise error

    letter = attempt("SaveMedia", MEDIA, work)
    assert (letter.step, letter.code, letter.media, letter.retryable) == ("SaveMedia", "unexpected", MEDIA, True)
    assert letter.detail == f"{type(error).__name__}: {error}"
    assert letter.message == CODES["unexpected"]


def test_an_unforeseen_error_is_logged_with_its_traceback(caplog):
    attempt("SaveMedia", MEDIA, lambda: 1 // 0)
    assert "a.mp3" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_an_interrupt_is_no_failure_of_the_media():
    def work():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt("SaveMedia", MEDIA, work)


def test_work_that_succeeds_gives_its_result():
    assert attempt("SaveMedia", MEDIA, lambda: 42) == 42
