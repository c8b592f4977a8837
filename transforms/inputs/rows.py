"""Parses a row of a manifest: the file, the part of it, its language and its id."""

from __future__ import annotations

import math
import re
import urllib.parse
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from transforms.dead_letters import MediaError
from transforms.engines.languages import known_code
from transforms.inputs.manifests import PATH_COLUMNS, Row

ABSENT = frozenset(["", "nan", "none", "null", "n/a", "<na>"])  # how tools write that a cell is empty


class ManifestEntry(NamedTuple):
    """The recording that one row of a manifest names."""

    paths: tuple[str, ...]  # ways to read what was written, as it stands first
    id: str = ""  # "" where the row gives none
    language: str = ""  # the model's own code; "" where it is to be found
    start_s: float = 0.0
    length_s: float = 0.0  # 0 goes on to the end
    inside: bool = False  # the table holds the audio itself

    @property
    def part(self) -> str:
        """The part as a media fragment of W3C's, `#t=1.5,4`; "" of a whole file."""
        if not self.start_s and not self.length_s:
            return ""
        end = f",{_seconds(self.start_s + self.length_s)}" if self.length_s else ""
        return f"#t={_seconds(self.start_s)}{end}"

    @property
    def plain_id(self) -> str:
        """The id that the row gives, or the one that follows from its path in its plainest reading."""
        return self.id or tidy(self.paths[-1]) + self.part


def read_row(row: Row, languages: frozenset[str]) -> ManifestEntry:
    """The recording that the row names, its language one of those.

    Raises:
        MediaError: the row does not say; the error tells which row, which value, and what to write.
    """
    try:
        if row.problem:
            raise ValueError(row.problem)
        column, path, inside = _path(row.cells)
        start_s, length_s = _part(row.cells, column)
        return ManifestEntry(
            tuple(dict.fromkeys(_readings(path))),
            _cell(row.cells, "id"),
            known_code(_cell(row.cells, "language") or _cell(row.cells, "lang"), languages),
            start_s,
            length_s,
            inside,
        )
    except ValueError as error:
        raise MediaError("bad_manifest", f"row {row.number}: {error}") from error


def shared_ids(named: Iterable[ManifestEntry]) -> frozenset[str]:
    """The ids that more than one recording has."""
    media = defaultdict[str, set[str]](set)
    for each in named:
        media[each.plain_id].add(tidy(each.paths[-1]) + each.part)
    return frozenset(name for name, places in media.items() if len(places) > 1)


def tidy(path: str) -> str:
    """The path without what says nothing: `./`."""
    return re.sub(r"^(\./+)+(?=.)", "", path)


def _path(cells: Any) -> tuple[str, str, bool]:
    """The column that gives the path, the path, and whether the table holds the audio itself."""
    inside = any(isinstance(cells.get(column), dict) and cells[column].get("bytes") for column in PATH_COLUMNS)
    for column in PATH_COLUMNS:
        cell = cells.get(column)
        if isinstance(cell, (list, tuple)):
            raise ValueError(f"{column} is a list: write a row for each path")
        path = _scalar(column, cell.get("path") if isinstance(cell, dict) else cell)
        if path:
            if re.fullmatch(r"""["'\s]+|[./\\]+""", path.strip()):
                raise ValueError(f"{column} is {path!r}, which names no file")
            return column, path, inside
    if inside:
        raise ValueError("the table holds the audio itself: write it to files, and name those")
    raise ValueError("it has no path")


def _part(cells: Any, column: str) -> tuple[float, float]:
    """Start and length in seconds; (0, 0) of a whole file.

    A `duration` alone may be what the tool that made the table measured; only NeMo means by it what to read.
    """
    start_s = _number(cells, "offset")
    if "offset" not in cells and column != "audio_filepath":
        return 0.0, 0.0
    length_s = _number(cells, "duration")
    if length_s == 0:
        raise ValueError("duration is 0: write seconds above 0, or nothing for all that follows")
    return start_s or 0.0, length_s or 0.0


def _number(cells: Any, column: str) -> float | None:
    text = _cell(cells, column)
    if not text:
        return None
    try:
        seconds = float(re.sub(r"^(\d+),(\d+)$", r"\1.\2", text))  # a decimal comma
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{column} is {text!r}: write seconds, such as 12.5")
    return round(seconds, 6)


def _cell(cells: Any, column: str) -> str:
    return _scalar(column, cells.get(column)).strip()


def _scalar(column: str, cell: Any) -> str:
    """The cell as text, "" where there is none: 7.0 is 7, and nan, None and blanks are nothing."""
    if isinstance(cell, (dict, list, tuple)):
        raise ValueError(f"{column} is neither text nor a number")
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "surrogateescape")
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = "" if cell is None else str(cell)
    text = re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text)  # halves of characters, which no name can hold
    return "" if text.strip().casefold() in ABSENT else text


def _readings(path: str) -> Iterator[str]:
    """What the path may mean: itself, without blanks and quotes around it, a file URI's path, `/` for a backslash."""
    bare = path.strip()
    for text in (path, bare, bare[1:-1] if re.fullmatch(r"""(["']).+\1""", bare) else bare):
        yield text
        if uri := re.match(r"file:(//(localhost)?)?(?=/)", text, re.IGNORECASE):
            yield urllib.parse.unquote(text[uri.end() :], errors="surrogateescape")
        elif "\\" in text and "://" not in text:
            yield text.replace("\\", "/")


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
