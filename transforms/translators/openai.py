"""Translation by any server with an OpenAI-compatible chat endpoint: cues go in and come out under their ids.

A model may merge, drop, repeat or reorder cues. Each answer is matched to its cue by id, so none can shift the
others; a cue without one usable answer is asked for again on its own, and is left untranslated after that. Whatever a
server says beside that costs the cues that it was asked for, and neither the run nor anything that is kept.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Self

from transforms.storage.secrets import masked, redacted, secret
from transforms.storage.texts import clean

KEY_VARIABLE = "OPENAI_API_KEY"
# part of the layer's fingerprint: raise it when the prompt changes
PROMPT_VERSION = 1
PROMPT = (
    'You translate subtitles from {source} to {target}. The user sends JSON: {{"cues": [{{"id": 1, "text": '
    '"…"}}, …]}}, in order of time. Answer with JSON of the same form and nothing else: every id once, each with the '
    "translation of its own text alone. Keep names and numbers. Never merge, split, drop or add cues."
)
ANSWER_BYTES = 8 << 20  # of an answer; what comes behind them is not read
# of a compressed answer by so much less: it may grow a thousandfold
PACKED = 64
# characters of one translated cue; its text is what was said in 30 s
LONGEST_TEXT = 10_000
# What a client makes of an answer that is not of the protocol: other types, other names, too deep, other encodings.
NONSENSE = (ValueError, AttributeError, TypeError, LookupError, ArithmeticError, RecursionError)


@dataclasses.dataclass(frozen=True)
class OpenAISettings:
    """Which server and model translate. The key comes from the environment, never from here."""

    target: str
    model: str = "gpt-4.1"
    base_url: str = ""  # "" is OpenAI's own, or OPENAI_BASE_URL
    timeout_s: float = 60.0
    max_retries: int = 4  # of one request, with backoff; a Retry-After is kept
    # enough for context, few enough that a bad answer costs little
    cues_per_request: int = 40

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        if not os.environ.get(KEY_VARIABLE):
            raise ValueError(
                f"--translator openai needs the environment variable {KEY_VARIABLE}; "
                "a server that asks for no key takes any value"
            )
        return cls(options["translate_to"], options["translate_model"], options["openai_base_url"])

    def identity(self) -> dict[str, Any]:
        return {"model": self.model, "prompt": PROMPT_VERSION}

    def open(self) -> OpenAITranslator:
        return OpenAITranslator(self)


class Unreachable(Exception):
    """The server cannot be asked; the message says why."""


class RefusedError(Exception):
    """The server does not take a request: it is too long, or says what the server will not hear."""


_clients: dict[Hashable, Any] = {}
_connecting = threading.Lock()


class OpenAITranslator:
    """Translates the texts of one transcript at a time; several threads may call."""

    def __init__(self, config: OpenAISettings) -> None:
        self._config = config
        self._stopped = threading.Event()
        self._refusal = ""  # why the server will answer no request at all
        self._sampling: dict[str, Any] = {"temperature": 0}  # some models allow their default only

    def stop(self) -> None:
        """Send no more requests: the texts that are left stay untranslated."""
        self._stopped.set()

    def translate(self, texts: Sequence[str], source: str) -> tuple[list[str | None], str]:
        """The translation of each text, None where there is none, and the last error ("" where there was none).

        A cue whose answer could not be used is asked for again on its own; a server that cannot be reached is not.

        Args:
            source: the language of the texts, as a code.
        """
        done: dict[int, str] = {}
        error, size = "", self._config.cues_per_request
        try:
            for start in range(0, len(texts), size):
                error = self._ask(texts, list(range(start, min(start + size, len(texts)))), source, done) or error
            for missing in [each for each in range(len(texts)) if each not in done]:
                error = self._ask(texts, [missing], source, done) or error
        except Unreachable as failure:
            error = str(failure)
        return [done.get(each) for each in range(len(texts))], error

    def _ask(self, texts: Sequence[str], ids: list[int], source: str, done: dict[int, str]) -> str:
        """Ask for these cues and keep the answers that can be trusted. Returns what went wrong, or ""."""
        try:
            answer = self._answer([{"id": each + 1, "text": texts[each]} for each in ids], source)
        except RefusedError as error:
            return str(error)
        except NONSENSE as error:
            return f"the server's answer is none of OpenAI's protocol: {redacted(error)}"
        found = matched(answer, [each + 1 for each in ids])
        done.update({number - 1: text for number, text in found.items()})
        return "" if len(found) == len(ids) else "the answer lacked cues, repeated them, or was no JSON"

    def _answer(self, cues: list[dict[str, Any]], source: str) -> str:
        """The text of the answer to one request.

        Raises:
            Unreachable: there is no point in asking for the next cue.
            RefusedError: this request alone is at fault.
        """
        import openai

        if self._stopped.is_set() or self._refusal:
            raise Unreachable(self._refusal or "the run was stopped")
        try:
            return self._request(cues, source)
        except openai.BadRequestError as error:
            if not self._sampling or "temperature" not in str(error):
                raise RefusedError(_describe_error(error)) from error
            self._sampling = {}
            return self._answer(cues, source)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            self._refusal = _describe_error(error)
            logging.getLogger(__name__).error("the translator refuses every request: %s", self._refusal)
            raise Unreachable(self._refusal) from error
        except openai.OpenAIError as error:
            raise Unreachable(_describe_error(error)) from error

    def _request(self, cues: list[dict[str, Any]], source: str) -> str:
        config = self._config
        system = PROMPT.format(source=source or "the language they are in", target=config.target)
        response = self._client().chat.completions.create(
            model=config.model,
            messages=[
                {"role": "system", "content": system},
                {"role": "user", "content": json.dumps({"cues": cues}, ensure_ascii=False)},
            ],
            **self._sampling,
        )
        content = response.choices[0].message.content or ""
        if not isinstance(content, str):
            raise TypeError(f"the content is a {type(content).__name__}, not a text")
        return content

    def _client(self) -> Any:
        """One client a process and config: it holds a pool of connections."""
        import openai

        with _connecting:
            if self._config not in _clients:
                _clients[self._config] = openai.OpenAI(
                    api_key=secret(KEY_VARIABLE),
                    base_url=self._config.base_url or None,
                    timeout=self._config.timeout_s,
                    max_retries=self._config.max_retries,
                    http_client=openai.DefaultHttpxClient(event_hooks={"response": [bound]}),
                )
            return _clients[self._config]


def _describe_error(error: Exception) -> str:
    """The kind of the error and what the server says of it; openai's messages begin with the status."""
    return f"{type(error).__name__}: {redacted(error)}"


def bound(response: Any) -> None:
    """Let an answer end behind ANSWER_BYTES, before any of it is read: a hook of httpx, or of what stands for it."""
    whole, left = response.stream, ANSWER_BYTES // (PACKED if "content-encoding" in response.headers else 1)
    stream: Any = importlib.import_module(type(response).__module__.partition(".")[0]).SyncByteStream

    class Bounded(stream):
        def __iter__(self) -> Iterator[bytes]:
            room = left
            for piece in whole:
                yield piece[:room]
                room -= len(piece)
                if room <= 0:
                    return

        def close(self) -> None:
            whole.close()

    response.stream = Bounded()


def matched(answer: str, wanted: Sequence[int]) -> dict[int, str]:
    """The answered texts by id: only ids that were asked for, answered exactly once, with some text.

    The JSON may stand in prose, in a code fence, or behind what a model thought. A cue answered twice counts as not
    answered: there is no telling which of the two is its own.
    """
    answer = _without_thinking(answer)
    start, end = answer.find("{"), answer.rfind("}")
    try:
        cues = json.loads(answer[start : end + 1])["cues"]
        pairs = [
            (_id(cue["id"]), cue["text"]) for cue in cues if isinstance(cue, dict) and {"id", "text"} <= set(cue)
        ]
    except NONSENSE:
        return {}
    times, asked = Counter(number for number, _ in pairs), set(wanted)
    usable = {
        number: masked(clean(text[: LONGEST_TEXT + 1])).strip()
        for number, text in pairs
        if number in asked and times[number] == 1 and isinstance(text, str)
    }
    return {number: text for number, text in usable.items() if 0 < len(text) <= LONGEST_TEXT}


def _without_thinking(answer: str) -> str:
    """The answer without what stands between <think> and </think>, in one pass however many are left open."""
    first, *rest = answer.split("<think>")
    return first + "".join(part.partition("</think>")[2] if "</think>" in part else part for part in rest)


def _id(value: Any) -> int:
    """The id as a number; some models answer with "1" for 1. Negative where it is none."""
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else -1
