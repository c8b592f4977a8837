"""Translation by any server with an OpenAI-compatible chat endpoint: cues go in and come out under their ids.

A model may merge, drop, repeat or reorder cues. Each answer is matched to its cue by id, so none can shift the
others; a cue without one usable answer is asked for again on its own, and is left untranslated after that.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import threading
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from transforms.secrets import secret

KEY_VARIABLE = "OPENAI_API_KEY"
PROMPT_VERSION = 1  # part of the layer's fingerprint: raise it when the prompt changes
PROMPT = (
    'You translate subtitles from {source} to {target}. The user sends JSON: {{"cues": [{{"id": 1, "text": '
    '"…"}}, …]}}, in order of time. Answer with JSON of the same form and nothing else: every id once, each with the '
    "translation of its own text alone. Keep names and numbers. Never merge, split, drop or add cues."
)


@dataclasses.dataclass(frozen=True)
class OpenAIConfig:
    """Which server and model translate. The key comes from the environment, never from here."""

    target: str
    model: str = "gpt-4.1"
    base_url: str = ""  # "" is OpenAI's own, or OPENAI_BASE_URL
    timeout_s: float = 60.0
    max_retries: int = 4  # of one request, with backoff; a Retry-After is kept
    cues_per_request: int = 40  # enough for context, few enough that a bad answer costs little


class Unreachable(Exception):
    """The server cannot be asked; the message says why."""


_clients: dict[Hashable, Any] = {}
_connecting = threading.Lock()


class OpenAITranslator:
    """Translates the texts of one transcript at a time; several threads may call."""

    def __init__(self, config: OpenAIConfig) -> None:
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
        except (ValueError, AttributeError, TypeError, IndexError) as error:
            return f"the server's answer is none of OpenAI's protocol: {error}"
        found = matched(answer, [each + 1 for each in ids])
        done.update({number - 1: text for number, text in found.items()})
        return "" if len(found) == len(ids) else "the answer lacked cues, repeated them, or was no JSON"

    def _answer(self, cues: list[dict[str, Any]], source: str) -> str:
        """The text of the answer to one request.

        Raises:
            Unreachable: there is no point in asking for the next cue.
        """
        import openai

        if self._stopped.is_set() or self._refusal:
            raise Unreachable(self._refusal or "the run was stopped")
        try:
            return self._request(cues, source)
        except openai.BadRequestError as error:
            if not self._sampling or "temperature" not in str(error):
                return ""  # this request's own fault: too long, or refused for what it says
            self._sampling = {}
            return self._answer(cues, source)
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            self._refusal = f"{type(error).__name__}: {error}"
            logging.getLogger(__name__).error("the translator refuses every request: %s", self._refusal)
            raise Unreachable(self._refusal) from error
        except openai.OpenAIError as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error

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
        return response.choices[0].message.content or ""

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
                )
            return _clients[self._config]


def matched(answer: str, wanted: Sequence[int]) -> dict[int, str]:
    """The answered texts by id: only ids that were asked for, answered exactly once, with some text.

    The JSON may stand in prose, in a code fence, or behind what a model thought. A cue answered twice counts as not
    answered: there is no telling which of the two is its own.
    """
    answer = re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL)
    start, end = answer.find("{"), answer.rfind("}")
    try:
        cues = json.loads(answer[start : end + 1])["cues"]
        pairs = [
            (_id(cue["id"]), cue["text"]) for cue in cues if isinstance(cue, dict) and {"id", "text"} <= set(cue)
        ]
    except (ValueError, KeyError, TypeError):
        return {}
    times = Counter(number for number, _ in pairs)
    return {
        number: text.strip()
        for number, text in pairs
        if number in wanted and times[number] == 1 and isinstance(text, str) and text.strip()
    }


def _id(value: Any) -> int:
    """The id as a number; some models answer with "1" for 1. Negative where it is none."""
    return int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()) else -1
