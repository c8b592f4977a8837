"""What others wrote, in files, on a terminal and in a shell."""

from __future__ import annotations

import random
import subprocess

import pytest

from transforms.storage.texts import UNSEEN, clean, each_text, printable, printable_lines, shell, shortened

ALPHABET = [
    *map(chr, range(0x300)),
    *"\u200d\u200f\u2028\u202e\u2067\ufeff\ufffe\ud83d\ude00\udcff\ud800ख़😀<>&'\"`$\\-",
]


def made_up(seed: int) -> str:
    draw = random.Random(seed)
    return "".join(draw.choices(ALPHABET, k=draw.randrange(80)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("नमस्ते, 😀 a\u200db\u200f\u2028c\td", "नमस्ते, 😀 a\u200db\u200f\u2028c\td"),
        ("a\x00b\x1b[31mc\x7f\x9bd\ufffe", "ab[31mcd"),
        ("one\r\ntwo\rthree\x0bfour\x85five", "one\ntwo\nthree\nfour\nfive"),
        ("\ud83d\ude00 and half \ud83d, \udcff", "😀 and half �, �"),
    ],
)
def test_what_was_said_is_kept_without_what_no_file_can_hold(text, wanted):
    assert clean(text) == wanted


@pytest.mark.parametrize("seed", range(300))
def test_whatever_comes_is_written_shown_and_quoted(seed):
    text = made_up(seed)
    cleaned = clean(text)
    assert cleaned.encode().decode() == cleaned == clean(cleaned)
    assert not set(cleaned) & set(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))
    for shown in (printable(text), *printable_lines(text).split("\n")):
        assert not UNSEEN.search(shown)
        shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("हिन्दी a b", "हिन्दी a b"),
        ("a\x1b]0;title\x07\x9b2J", "a\\x1b]0;title\\x07\\x9b2J"),
        ("done\n12:00:00 ERROR", "done\\n12:00:00 ERROR"),
        ("caf\udce9 \ud800", "caf\\xe9 \\ud800"),
        ("\u202egpj.exe \u2066", "\\u202egpj.exe \\u2066"),
    ],
)
def test_what_a_terminal_would_obey_is_seen(text, shown):
    assert printable(text) == shown


def test_a_long_text_keeps_its_beginning_and_its_end():
    assert shortened("a" * 100 + "b" * 100, 20) == "a" * 10 + " … " + "b" * 10
    assert shortened("ab", 2) == "ab"


def test_texts_change_wherever_they_stand_and_keys_do_not():
    assert each_text({"a": ["a", ("a", 1, None)], "b": {"a": "a"}}, str.upper) == {
        "a": ["A", ["A", 1, None]],
        "b": {"a": "A"},
    }


def test_a_shell_gives_the_words_back():
    words = ["--x=a b", "it's $(reboot) `id` ;", "x\x1b[2J\n'\\", "caf\udce9", "\u202eख", "--", ""]
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {shell(words)}"], capture_output=True, check=True)
    assert done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1] == words
    assert "\n" not in shell(words)
