"""The durable layers under the output: what was committed, found again by any later run.

    _work/asr/<fingerprint>/<media_id>/<chunk>-of-<chunks>.json   what inference produced
    _work/translation/<language>/<fingerprint>/<media_id>.json    what an LLM translator produced
    _work/saved/<hash of the name>.json                           which files lie under a name, and whose they are
    _work/dead/<fingerprint>/<media_id>.json                      why a media could not be done

A fingerprint covers the options that are meant to change the layer and nothing else. Every object says which
version of the media it was made from; one made from another version counts as missing. Files that people use have one
place whatever the options, so what is noted of them is kept by their name, and holds the fingerprint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    DeadLetter,
    MediaChunk,
    MediaFile,
    Problem,
    Segment,
    Transcript,
    WindowRecord,
    to_plain,
)
from transforms.storage import join, store_for

FORMAT = 1  # of the objects below: a new one makes every earlier object count as missing


def fingerprint(settings: dict[str, Any]) -> str:
    """Twelve hex digits that change when any of the settings does."""
    text = json.dumps({**settings, "format": FORMAT}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def json_bytes(content: Any, indent: int | None = None) -> bytes:
    """UTF-8 JSON with sorted keys: the same content gives the same bytes."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, indent=indent)
    return (text + "\n").encode("utf-8", "backslashreplace")  # a name that is no UTF-8 must not stop the run


@dataclasses.dataclass(frozen=True)
class Layers:
    """The layers of one set of options under one output."""

    output: str
    asr: str  # fingerprints
    saved: str
    translation: str = ""  # "" where no LLM translates
    translation_language: str = ""

    def commit_chunk(self, transcript: ChunkTranscript) -> None:
        chunk = transcript.chunk
        content = {
            "media": to_plain(chunk.media),
            "audio": to_plain(transcript.audio),
            "windows": to_plain(transcript.windows),
        }
        self._put(self._chunk(chunk), content)

    def chunk(self, chunk: MediaChunk) -> ChunkTranscript | None:
        """What was committed for the chunk, or None."""
        content = self._get(self._chunk(chunk), chunk.media)
        if content is None:
            return None
        windows = tuple(_window(window) for window in content["windows"])
        return ChunkTranscript(chunk, _audio(content["audio"]), windows)

    def has_chunk(self, chunk: MediaChunk) -> bool:
        return self._get(self._chunk(chunk), chunk.media) is not None

    def commit_translation(self, transcript: Transcript, texts: list[str | None], error: str) -> None:
        content = {"media": to_plain(transcript.media), "of": _source(transcript), "texts": texts, "error": error}
        self._put(self._translation(transcript.media), content)

    def translated(self, transcript: Transcript) -> tuple[list[str | None], str] | None:
        """The translated text of each segment (None where it failed) and the last error; None for another text."""
        content = self._get(self._translation(transcript.media), transcript.media) if self.translation else None
        if content is None or content["of"] != _source(transcript):
            return None
        return content["texts"], content["error"]

    def commit_saved(self, media: MediaFile, files: list[str], audio_s: float, complete: bool) -> None:
        content = {"media": to_plain(media), "files": files, "audio_s": audio_s, "complete": complete}
        self._put(self._saved(media.name), {**content, "fingerprint": self.saved})

    def saved_under(self, name: str) -> dict[str, Any] | None:
        """What lies under a name, whosever it is: `media`, `files`, `audio_s`, `complete`, `fingerprint`."""
        return self._get(self._saved(name), None)

    def forget_saved(self, name: str) -> None:
        store_for(self.output).delete(self._saved(name))

    def commit_dead(self, letter: DeadLetter) -> None:
        self._put(self._dead(letter.media), {"media": to_plain(letter.media), "letter": to_plain(letter)})

    def dead(self, media: MediaFile) -> DeadLetter | None:
        content = self._get(self._dead(media), media)
        return None if content is None else DeadLetter(**{**content["letter"], "media": media})

    def forget_dead(self, media: MediaFile) -> None:
        store_for(self.output).delete(self._dead(media))

    def _chunk(self, chunk: MediaChunk) -> str:
        name = f"{chunk.chunk}-of-{chunk.chunks}.json"
        return join(self.output, "_work/asr", self.asr, chunk.media.media_id, name)

    def _translation(self, media: MediaFile) -> str:
        folder = join("_work/translation", self.translation_language, self.translation)
        return join(self.output, folder, f"{media.media_id}.json")

    def _saved(self, name: str) -> str:
        key = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return join(self.output, "_work/saved", f"{key}.json")

    def _dead(self, media: MediaFile) -> str:
        return join(self.output, "_work/dead", self.asr, f"{media.media_id}.json")

    def _put(self, uri: str, content: dict[str, Any]) -> None:
        store_for(uri).put(uri, json_bytes(content))

    def _get(self, uri: str, media: MediaFile | None) -> dict[str, Any] | None:
        try:
            content = json.loads(store_for(uri).read(uri))
        except (FileNotFoundError, ValueError):  # a power cut may leave a name without its content
            return None
        if media and any(content["media"][field] != getattr(media, field) for field in ("version", "language")):
            return None
        return content


def _source(transcript: Transcript) -> str:
    """A hash of the texts that a translation is of."""
    return fingerprint({"texts": [segment.text for segment in transcript.segments]})


def _problem(plain: dict[str, Any]) -> Problem:
    return Problem(**plain)


def _audio(plain: dict[str, Any]) -> AudioFacts:
    return AudioFacts(**{**plain, "problems": tuple(map(_problem, plain["problems"]))})


def _window(plain: dict[str, Any]) -> WindowRecord:
    texts = {task: tuple(Segment(**s) for s in segments) for task, segments in plain["texts"].items()}
    problem = plain["problem"] and _problem(plain["problem"])
    return WindowRecord(**{**plain, "texts": texts, "problem": problem})
