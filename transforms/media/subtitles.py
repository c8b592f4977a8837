"""Subtitle files from segments: SubRip (.srt) and WebVTT (.vtt), text as it is spoken; cues.py cuts the cues.

Neither format has a way to say that a line runs from right to left. WebVTT's players take each line's direction from
its first letter (https://www.w3.org/TR/webvtt1, "unicode-bidi: plaintext"), so a mark stands before a line whose
first letter would tell the wrong one. SubRip's players do as they like, and libass takes every line for one from left
to right, so there the whole line is embedded.
"""

from __future__ import annotations

from collections.abc import Sequence

import regex

from transforms.media.cues import RIGHT_TO_LEFT, cut_cues
from transforms.records import Segment

LEFT_TO_RIGHT_MARK, RIGHT_TO_LEFT_MARK = "\u200e", "\u200f"
RIGHT_TO_LEFT_EMBEDDING, POP_DIRECTION = "\u202b", "\u202c"
# a SubRip file of nothing: ffmpeg and others refuse an empty one
WORDLESS = "1\n00:00:00,000 --> 00:00:00,001\n\n"
WORD_JOINER = "\u2060"  # has no width

STRONG = regex.compile(r"[\p{bc=L}\p{bc=R}\p{bc=AL}]")
# A tag, an arrow, a command of ASS, which players obey in SubRip too, and a time: two in a line begin a cue for some.
MARKUP = regex.compile(r"<(?= *[/\p{L}])|--(?=>)|(?<=\{[^}]*)\\|\d(?=:\d+:\d+[.,]\d)")


def srt(segments: Sequence[Segment], duration_s: float | None = None) -> str:
    """SubRip: numbered cues, decimal comma. No segments give one cue without text.

    SubRip knows no escaping: a word joiner keeps what looks like markup from being taken for it.
    """
    cues = [
        f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n"
        + "".join(f"{_srt_line(line, cue.rtl)}\n" for line in cue.lines)
        for number, cue in enumerate(cut_cues(segments, duration_s), 1)
    ]
    return "\n".join(cues) or WORDLESS


def vtt(segments: Sequence[Segment], language: str, duration_s: float | None = None) -> str:
    """WebVTT with its markup characters escaped, so that text shows as it is."""
    header = f"WEBVTT\nLanguage: {language}\n" if language else "WEBVTT\n"
    cues = [
        f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n"
        + "".join(f"{_escaped(_directed(line, cue.rtl))}\n" for line in cue.lines)
        for cue in cut_cues(segments, duration_s)
    ]
    return "\n".join([header, *cues])


def _srt_line(line: str, rtl: bool) -> str:
    plain = MARKUP.sub(rf"\g<0>{WORD_JOINER}", line)
    return f"{RIGHT_TO_LEFT_EMBEDDING}{plain}{POP_DIRECTION}" if rtl else _directed(plain, rtl)


def _directed(line: str, rtl: bool) -> str:
    """The line, behind a mark where its first letter is of the other direction, or there is none to tell."""
    first = STRONG.search(line)
    if bool(first and RIGHT_TO_LEFT.match(first.group())) == rtl:
        return line
    return (RIGHT_TO_LEFT_MARK if rtl else LEFT_TO_RIGHT_MARK) + line


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(milliseconds: int, point: str) -> str:
    """01:02:03,456; hours grow beyond two digits."""
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"
