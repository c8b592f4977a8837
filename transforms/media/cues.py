"""Segments → cues: what stands on the screen, and from when to when.

Every word of the segments comes out, in order and once; cues never overlap; the same segments give the same cues.
Times are whole milliseconds. What broadcasters ask for, and where a figure comes from, stands beside the constants.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import regex

from transforms.records import Segment

# Netflix, Timed Text Style Guide: General Requirements, and its guides of single languages.
# a line of Latin, Devanagari, Arabic, ...: one column an extended grapheme cluster (UAX #29)
LINE_COLUMNS = 42
# Chinese and Korean: 16 characters a line (exact in floating point)
WIDE_COLUMNS = LINE_COLUMNS / 16
CUE_COLUMNS = 2 * LINE_COLUMNS  # two lines
LONGEST_MS = 7_000
SHORTEST_MS = 1_000  # Netflix 5/6 s, rounded up
COLUMN_MS = 1_000 / 20  # reading speed: 20 characters a second for adults

# Choices of this project.
USUAL_COLUMNS = 0.9 * CUE_COLUMNS  # what two lines hold, as words seldom end where a line does
# a slow speaker's text is cut no finer for the sake of its time alone
FINEST_COLUMNS = LINE_COLUMNS / 2
# what a cue gets where segments leave it no time at all; players drop one of 0 ms
BLINK_MS = 5

# A break costs its distance from the balanced place, in columns, and its kind times what a kind weighs.
AFTER_SENTENCE, AFTER_CLAUSE, ELSEWHERE, INSIDE_A_WORD = 0, 1, 3, 100
KIND_IN_A_CUE, KIND_BETWEEN_CUES = 5, 14  # lines should be even, but a cue should be a whole thought

RTL_LANGUAGES = {"ar", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"}  # mostly written from right to left

# Where a line may end: UAX #14 by its classes, without its rules for hyphens and Korean, which subtitles keep whole.
_JOINS = r"\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}"
_CLOSES = rf"{_JOINS}\p{{lb=CL}}\p{{lb=CP}}\p{{lb=EX}}\p{{lb=IS}}\p{{lb=SY}}\p{{lb=NS}}।॥…"
_STAYS = rf"{_CLOSES}\p{{lb=CJ}}\p{{lb=QU}}\p{{lb=PO}}\p{{lb=IN}}\p{{lb=BA}}\p{{lb=HY}}\p{{lb=GL}}\p{{lb=WJ}}\u200b\s"
_OPENS = r"\p{lb=OP}\p{lb=PR}\p{lb=QU}\p{lb=GL}\p{lb=WJ}\p{GCB=ZWJ}\p{GCB=Prepend}\d\s"
_WIDE = r"\p{ea=W}\p{ea=F}"
_IDEOGRAPH = rf"\p{{lb=ID}}\p{{lb=CJ}}\p{{lb=NS}}[[\p{{lb=CL}}\p{{lb=EX}}\p{{lb=IS}}]&&[{_WIDE}]]"
BREAK = regex.compile(
    rf"(?<=[ \u200b])(?<!\p{{GCB=Prepend}} )(?![{_CLOSES}])"
    rf"|(?<=[{_IDEOGRAPH}])(?![{_STAYS}])(?=.)|(?<=[^{_OPENS}])(?=\p{{lb=ID}})",
    regex.V1,
)
CLUSTER = regex.compile(rf"(?=([{_WIDE}]?))\X")  # finds its first character where that is wide, else ""
PIECE = regex.compile(r"\p{Logical_Order_Exception}?\X")  # a Thai or Lao vowel that is written before its consonant
SENTENCE_END = regex.compile(r"[\p{STerm}…][\p{Pe}\p{Pf}\"']*$")
CLAUSE_END = regex.compile(r"[\p{Terminal_Punctuation}—–][\p{Pe}\p{Pf}\"']*$")
RIGHT_TO_LEFT = regex.compile(r"[\p{bc=R}\p{bc=AL}]")
LEFT_TO_RIGHT = regex.compile(r"\p{bc=L}")

BYTE_ORDER_MARK = "\ufeff"
CONTROL = regex.compile(r"[\p{Cc}\p{Cs}]")
TURNS = regex.compile("[\u202a-\u202e\u2066-\u2069]")  # embeddings and overrides, which may not be closed again
SPACES = regex.compile(r"\s{2,}|[\s--[\u00a0\u202f]]", regex.V1)  # a single no-break space stays as it is


class Cue(NamedTuple):
    """One or two lines in logical order, none of them blank, and none behind the first of digits alone."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    rtl: bool = False  # to be shown from right to left


class _Unit(NamedTuple):
    """Text that no line may break inside of."""

    text: str
    columns: float
    gap: int  # spaces behind it
    kind: int  # of the break behind it


@dataclass
class _Span:
    """Segments that share a time, mostly one."""

    start_ms: int
    end_ms: int
    texts: list[tuple[str, bool]]  # and whether it is written from right to left


def cut_cues(segments: Iterable[Segment], duration_s: float | None = None) -> list[Cue]:
    """Cues of at most two lines and 7 s, in the order of time.

    Args:
        segments: in any order. One without text gives no cue; one that ends before it begins counts as of no length.
            Where most of a segment lies behind the beginning of the next, both share their time by their text.
        duration_s: of the recording, which no cue outlasts; None or 0 where nobody knows.
    """
    stop_ms = round(duration_s * 1000) if duration_s else sys.maxsize
    spans = _spans(segments, stop_ms)
    cues: list[Cue] = []
    for number, span in enumerate(spans):
        until_ms = spans[number + 1].start_ms if number + 1 < len(spans) else stop_ms
        cues += _timed(span, cues[-1].end_ms if cues else 0, until_ms)
    return cues


def columns(text: str) -> float:
    """How much of a line the text takes: 1 a grapheme cluster, 2.625 a wide one."""
    if text.isascii():
        return len(text)
    clusters = CLUSTER.findall(text)
    narrow = clusters.count("")
    return narrow + (len(clusters) - narrow) * WIDE_COLUMNS


def _spans(segments: Iterable[Segment], stop_ms: int) -> list[_Span]:
    spans: list[_Span] = []
    for start, end, text, rtl in sorted(_heard(segments), key=lambda heard: heard[0]):
        start_ms = min(start, stop_ms)
        end_ms = min(max(start_ms, end), stop_ms)
        last = spans[-1] if spans else None
        if last and (start_ms >= stop_ms or last.end_ms - start_ms >= start_ms - last.start_ms):
            last.end_ms = max(last.end_ms, end_ms)
            last.texts.append((text, rtl))
        else:
            spans.append(_Span(start_ms, end_ms, [(text, rtl)]))
    return spans


def _heard(segments: Iterable[Segment]) -> Iterator[tuple[int, int, str, bool]]:
    for segment in segments:
        if text := _clean(segment.text):
            start_ms, end_ms = max(0, round(segment.start * 1000)), round(segment.end * 1000)
            yield start_ms, end_ms, text, _from_right(text, segment.language)


def _clean(text: str) -> str:
    """One line, words apart by one space: control characters and blank lines would break a subtitle file.

    What turns the direction of a text goes too: subtitles.py sets that of each line.
    """
    return str(SPACES.sub(" ", CONTROL.sub(" ", TURNS.sub("", text.replace(BYTE_ORDER_MARK, ""))))).strip()


def _from_right(text: str, language: str) -> bool:
    """By the language, since a sentence in Arabic may begin with a Latin name; else by what most letters are."""
    if text.isascii() or not RIGHT_TO_LEFT.search(text):
        return False
    right, left = len(RIGHT_TO_LEFT.findall(text)), len(LEFT_TO_RIGHT.findall(text))
    return language.split("-")[0] in RTL_LANGUAGES or right > left


def _timed(span: _Span, free_ms: int, until_ms: int) -> Iterator[Cue]:
    """The span's cues, which share its time by their length. It may reach from free_ms to until_ms."""
    parts = [(lines, rtl) for text, rtl in span.texts for lines in _split(text, _limit(span))]
    needs = [max(SHORTEST_MS, sum(map(columns, lines)) * COLUMN_MS) for lines, _ in parts]
    start, end = _room(span, sum(needs), len(parts), free_ms, until_ms)
    begin, share = start, (end - start) / sum(needs)
    for (lines, rtl), spent in zip(parts, accumulate(needs), strict=True):
        until = start + round(spent * share)
        yield Cue(begin, min(until, begin + LONGEST_MS), lines, rtl)
        begin = until


def _room(span: _Span, need_ms: float, cues: int, free_ms: int, until_ms: int) -> tuple[int, int]:
    """When the span's cues begin and end: lengthened into the pause behind to be read, and before to be seen."""
    start, end = max(span.start_ms, free_ms), min(span.end_ms, until_ms)
    end = max(end, min(start + math.ceil(need_ms), until_ms))
    start = min(start, max(free_ms, end - SHORTEST_MS * cues))
    return start, max(end, start + BLINK_MS * cues)


def _limit(span: _Span) -> float:
    """Columns a cue may hold, so that it need not stand for more than 7 s."""
    if span.end_ms - span.start_ms <= LONGEST_MS:
        return math.inf
    spoken = sum(columns(text) for text, _ in span.texts)
    return max(FINEST_COLUMNS, spoken * LONGEST_MS / (span.end_ms - span.start_ms))


def _split(text: str, limit: float) -> Iterator[tuple[str, ...]]:
    """The lines of each cue."""
    width = columns(text)
    if width <= min(limit, LINE_COLUMNS):
        yield (text,)
    else:
        yield from _halved(_units(text), limit)


def _halved(units: list[_Unit], limit: float) -> Iterator[tuple[str, ...]]:
    width = _width(units)
    lines = _lines(units, width)
    if lines and (width <= limit or len(units) == 1):
        yield lines
        return
    cues = max(2, math.ceil(width / min(limit, USUAL_COLUMNS)))
    middle = _best_break(units, width * (cues // 2) / cues, KIND_BETWEEN_CUES)
    yield from _halved(units[:middle], limit)
    yield from _halved(units[middle:], limit)


def _lines(units: list[_Unit], width: float) -> tuple[str, ...] | None:
    """One line where all fits into it, else two; None where two do not do."""
    if width <= LINE_COLUMNS:
        return (_joined(units),)
    if width > CUE_COLUMNS + 1:  # a space between the lines takes no place
        return None
    middle = _best_break(units, width / 2, KIND_IN_A_CUE, LINE_COLUMNS)
    lines = _joined(units[:middle]), _joined(units[middle:])
    # SubRip parsers take digits alone for the number of the next cue
    if not middle or lines[1].isdecimal():
        return None
    return lines


def _best_break(units: list[_Unit], target: float, kind_columns: int, room: float = math.inf) -> int:
    """After how many units to break: near the target, better behind a clause; 0 where one side exceeds the room."""
    best, least = 0, math.inf
    done, left = 0.0, _width(units)
    for number, unit in enumerate(units[:-1], 1):
        done, left = done + unit.columns, left - unit.columns - unit.gap
        cost = abs(done - target) + unit.kind * kind_columns
        if cost < least and done <= room >= left:
            best, least = number, cost
        done += unit.gap
    return best


def _width(units: list[_Unit]) -> float:
    return sum(unit.columns + unit.gap for unit in units) - units[-1].gap


def _joined(units: list[_Unit]) -> str:
    return "".join(unit.text + " " * unit.gap for unit in units).rstrip(" ")


def _units(text: str) -> list[_Unit]:
    return [unit for piece in BREAK.split(text) for unit in _unbreakable(piece)]


@functools.lru_cache(maxsize=20_000)  # words come back: this halves the time
def _unbreakable(piece: str) -> tuple[_Unit, ...]:
    """A word and the space behind it; one that is longer than a line comes in grapheme clusters."""
    word = piece.rstrip(" ")
    gap, width, kind = len(piece) - len(word), columns(word), _kind(word)
    if width <= LINE_COLUMNS:
        return (_Unit(word, width, gap, kind),)
    *clusters, last = PIECE.findall(word)
    units = (_Unit(cluster, columns(cluster), 0, INSIDE_A_WORD) for cluster in clusters)
    return (*units, _Unit(last, columns(last), gap, kind))


def _kind(word: str) -> int:
    if SENTENCE_END.search(word):
        return AFTER_SENTENCE
    return AFTER_CLAUSE if CLAUSE_END.search(word) else ELSEWHERE
