"""Subtitle files from segments: SubRip (.srt) and WebVTT (.vtt), text as it is spoken."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from transforms.records import Segment

LINE_CHARACTERS = 42  # what broadcasters allow


def srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues, decimal comma. No segments give an empty string."""
    cues = [
        f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{wrap(segment.text)}\n"
        for number, segment in enumerate(segments, 1)
    ]
    return "\n".join(cues)


def vtt(segments: Sequence[Segment], language: str) -> str:
    """WebVTT with its markup characters escaped, so that text shows as it is."""
    header = f"WEBVTT\nLanguage: {language}\n" if language else "WEBVTT\n"
    cues = [
        f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{_escaped(wrap(segment.text))}\n"
        for segment in segments
    ]
    return "\n".join([header, *cues])


def wrap(text: str) -> str:
    """The text in lines of at most 42 characters, broken at spaces; a blank line would end the cue."""
    words = " ".join(text.split())
    return "\n".join(textwrap.wrap(words, LINE_CHARACTERS, break_long_words=False, break_on_hyphens=False))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    """01:02:03,456; hours grow beyond two digits."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
