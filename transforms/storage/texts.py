"""Sanitizes text from outside for files, for a terminal and for a shell command."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable
from typing import Any

LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85]")
CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
NO_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte of a name either
SURROGATES = re.compile("[\ud800-\udfff]")
# What a terminal obeys instead of showing it, what turns the direction of all that follows, and what it cannot show.
UNSEEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """What was said or translated, fit for any file: no controls but line ends and tabs, nothing that is no UTF-8."""
    # halves that belong together become one, a half alone U+FFFD
    if SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return CONTROLS.sub("", LINE_ENDS.sub("\n", text))


def printable(text: str) -> str:
    """The text on one line of a terminal or a page, what cannot be shown or would be obeyed as a visible escape."""
    return UNSEEN.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Like `printable`, but its line ends stay."""
    return "\n".join(map(printable, text.replace("\r\n", "\n").split("\n")))


def shortened(text: str, limit: int) -> str:
    """The text, where it is longer without its middle: what an error is about stands first, its reason often last."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]} … {text[-half:]}"


def shell(words: Iterable[str]) -> str:
    """A command line to be pasted into a shell, on one line whatever its words hold."""
    return " ".join(map(_quoted, words))


def each_text(plain: Any, change: Callable[[str], str]) -> Any:
    """Dicts, lists and scalars with every text in them changed; keys stay."""
    if isinstance(plain, str):
        return change(plain)
    if isinstance(plain, dict):
        return {key: each_text(value, change) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return [each_text(value, change) for value in plain]
    return plain


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\r": "\\r"}.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _quoted(word: str) -> str:
    """The word for a shell; one that `printable` would change as bash, zsh and POSIX 2024 read it: $'a\\x1b'."""
    if not UNSEEN.search(word):
        return shlex.quote(word)
    data = os.fsencode(NO_BYTES.sub("\ufffd", word))
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in data)
    return f"$'{''.join(plain)}'"
