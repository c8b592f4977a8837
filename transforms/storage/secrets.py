"""Reads secrets, and masks them in every text that leaves the process.

    OPENAI_API_KEY=sk-…                                        the secret itself
    OPENAI_API_KEY=projects/my-project/secrets/openai-key      its name in Google's Secret Manager

A name is none, so it may stand in an image or a manifest; the secret is read where it is used, and kept nowhere but
in this process, which must know it to strike it out: servers, libraries and tools repeat what they were told. Whoever
gets a secret `register`s it. Then there are three gates:

    redacted    what others say, before it becomes a message, a dead letter or a problem
    masked      what is written: the values of what was registered, and nothing else
    guard_logs  every record of the log, from whatever package
"""

from __future__ import annotations

import base64
import functools
import html
import json
import logging
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from transforms.storage.texts import each_text, printable_lines, shortened

KEPT = re.compile(r"projects/[\w.:-]+/secrets/[\w-]+(/versions/\w+)?")
ASK_S = 20.0
# characters: what is shorter is no key, and part of many a word
SHORTEST = 8
HIDDEN = "[hidden]"
SHOWN = 500  # characters of what others say
LOGGED = 10_000  # of a record of the log, and of the stack trace behind it
# What libraries read by themselves, and addresses that may hold a password.
VARIABLES = (
    "OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
)  # fmt: skip
ADDRESSES = (
    "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy",
)  # fmt: skip
IN_ADDRESSES = re.compile(
    r"://[^\s/@:]*:([^\s@]+)@|[?&](?:X-(?:Amz|Goog)-(?:Signature|Security-Token)|signature|sig|(?:access_)?token|"
    r"api_?key|password)=([^&#\s]+)",
    re.IGNORECASE,
)
# What is a secret by its looks, whether or not it is one of this process.
LOOKS_SECRET = [
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(?:proxy-)?authorization[\\\"']*\s*[:=]\s*[\\\"']*[^\r\n\"'<>{}]+", re.IGNORECASE),
    re.compile(r"\b(?:Bearer|Basic)\s+[\w.+/=~*-]{8,}|AWS4-HMAC-SHA256[^\r\n\"'<>{}]*", re.IGNORECASE),
    re.compile(
        r"(?:X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|\bsignature|\bsig|"
        r"\b(?:access_|refresh_)?token|\bapi[_-]?key|\bpassword)=[^&\s\"'<>]+",
        re.IGNORECASE,
    ),
    re.compile(r"(?<=://)[^\s/@:'\"]*:[^\s/@'\"]*(?=@)"),
    re.compile(
        r"\bsk-[\w*-]{6,}|\bhf_\w{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\bya29\.[\w.-]+"
        r"|\beyJ[\w-]{10,2000}\.[\w-]{10,4000}\.?[\w-]{0,2000}"
    ),
]


class SecretError(OSError):
    """A secret cannot be read; the message says which, and what to do."""


def secret(variable: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The secret of that variable, None where it is not set.

    Raises:
        SecretError: it is kept in Secret Manager, which does not give it.
    """
    value = (os.environ if environment is None else environment).get(variable)
    if value and KEPT.fullmatch(value):
        value = _kept(value if "/versions/" in value else f"{value}/versions/latest", variable)
    register(value)
    return value


def register(*values: str | None) -> None:
    """From here on, `masked` knows these secrets. Workers are other processes: it is called where one is got."""
    _registered.update(filter(_is_long, map(str.strip, filter(None, values))))


def register_in(words: Iterable[str]) -> None:
    """Likewise with the passwords and signatures of the addresses among the words."""
    register(*(value for word in words for found in IN_ADDRESSES.findall(word) for value in found))


def masked(plain: Any) -> Any:
    """A text, or every text in dicts and lists, without the secrets of this process, however they are encoded."""
    forms = _forms(frozenset(_registered.union(_of_environment())))
    return each_text(plain, lambda text: _without(text, forms)) if forms else plain


def _without(text: str, forms: tuple[str, ...]) -> str:
    for form in forms:
        if form in text:
            text = text.replace(form, HIDDEN)
    return text


def redacted(message: object, limit: int = SHOWN) -> str:
    """What a server, a library or a tool says, without anything secret, fit to be shown, and not too long."""
    text = masked(shortened(str(message), 4 * limit))  # what is cut through there is cut off below
    for looks in LOOKS_SECRET:
        text = looks.sub(HIDDEN, text)
    return shortened(printable_lines(text), limit)


class GuardedRecord(logging.LogRecord):
    """A record that tells no secret, and in which no name poses as another record or commands the terminal."""

    def __init__(self, *values: Any, **more: Any) -> None:
        super().__init__(*values, **more)
        if self.exc_info:
            self.exc_text = redacted(logging.Formatter().formatException(self.exc_info), LOGGED)
            self.exc_info = None  # some handlers would write the trace from it

    def getMessage(self) -> str:
        return redacted(super().getMessage(), LOGGED).replace("\n", "\n    ")


def guard_logs() -> None:
    """Guard every record of this process's log from now on, whichever handler writes it."""
    logging.setLogRecordFactory(GuardedRecord)


@functools.cache
def _kept(name: str, variable: str) -> str:
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError

        answer = _manager().access_secret_version(name=name, timeout=ASK_S)
    except ImportError as error:
        raise SecretError(f"{variable} names a secret: pip install 'beam-pipeline[dataflow]'") from error
    except (GoogleAPIError, GoogleAuthError) as error:
        raise SecretError(
            f"{variable} names {name}, which cannot be read: the service account of whoever runs this needs "
            f"roles/secretmanager.secretAccessor on it ({redacted(error)})"
        ) from error
    return answer.payload.data.decode().strip()


def _manager() -> Any:
    from google.cloud import secretmanager

    return secretmanager.SecretManagerServiceClient()


_registered: set[str] = set()


def _is_long(value: str) -> bool:
    return len(value) >= SHORTEST


def _of_environment() -> Iterator[str]:
    for name in VARIABLES:
        value = os.environ.get(name, "").strip()
        if _is_long(value) and not KEPT.fullmatch(value):
            yield value
    for name in ADDRESSES:
        for found in IN_ADDRESSES.findall(os.environ.get(name, "")):
            yield from filter(_is_long, found)


@functools.lru_cache(maxsize=16)
def _forms(values: frozenset[str]) -> tuple[str, ...]:
    """The values as they may stand in a text, the longest first."""
    forms = {form for value in values for form in _forms_of(value) if _is_long(form)}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _forms_of(value: str) -> Iterator[str]:
    """The value as it is, and in JSON, HTML, Python, an address and Base64, wherever there it begins."""
    yield from (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    yield from (html.escape(value), repr(value)[1:-1])
    data = value.encode("utf-8", "surrogateescape")
    for quoted in (urllib.parse.quote(data, safe=""), urllib.parse.quote(data), urllib.parse.quote_plus(data)):
        yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))
    for before, mixed in enumerate((0, 2, 3)):  # bytes before it, and letters that hold bits of them
        whole = (before + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(bytes(before) + data).decode()[mixed:whole]
