"""The rows of manifests, as people and other tools write them: what each kind of file holds, row by row.

What the cells of a row mean is in rows.py.
"""

from __future__ import annotations

import codecs
import csv
import functools
import io
import itertools
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from transforms.dead_letters import MediaError
from transforms.media.suffixes import suffix_of

PATH_COLUMNS = (
    *("path", "uri", "url", "file", "file_path", "filepath", "file_name", "filename"),
    *("audio", "audio_path", "audio_filepath", "audio_file", "audio_filename", "audio_url"),
    *("wav", "wav_path", "wav_filename", "media", "video", "video_path"),
)
COLUMNS = frozenset([*PATH_COLUMNS, "id", "language", "lang", "offset", "duration"])
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# a cell may hold a transcript, and must not cost all other rows
csv.field_size_limit(1 << 30)
ROWS_AT_ONCE = 100  # of a Parquet file: each may hold a whole recording
HLS = (
    "it is an HLS playlist, a list of the pieces of one recording: join them with "
    "`ffmpeg -i {name} -c copy joined.mp4`, and name that"
)


class Row(NamedTuple):
    """One row as it was written."""

    # from 1: the line of a list, the row below the header of a table
    number: int
    cells: Mapping[str, Any]  # by the name of the column, as `column_name` gives it
    problem: str = ""  # why it has no cells
    # it begins as a comment does: no media unless there is a file of that name
    remark: bool = False


def read_manifest(content: bytes, name: str) -> list[Row]:
    """The rows of a manifest of the kind that its name says.

    Raises:
        MediaError: it cannot be read, or has no column for the path.
    """
    try:
        rows = list(KINDS[suffix_of(name)](content, name))
    except (ValueError, OSError, csv.Error) as error:  # pyarrow's errors are ValueErrors or OSErrors
        raise MediaError("bad_manifest", str(error)) from error
    except RecursionError as error:
        raise MediaError("bad_manifest", "it is nested too deeply") from error
    whole = [row.cells for row in rows if not row.problem]
    if whole and not any(map(_path_columns, whole)):
        raise _no_path_column(whole[0])
    return rows


@functools.lru_cache(1000)  # asked of every cell
def column_name(name: object) -> str:
    """`audio_path` of " Audio Path": capitals, padding, blanks and dashes do not tell columns apart."""
    return re.sub(r"[\s\-]+", "_", str(name).strip().casefold())


def _path_columns(names: Collection[str]) -> list[str]:
    return [name for name in PATH_COLUMNS if name in names]


def _no_path_column(names: Iterable[str]) -> MediaError:
    found = ", ".join(itertools.islice(names, 20))
    return MediaError("bad_manifest", f"none of its columns ({found}) holds paths: call the one that does `path`")


def _row(number: int, cells: Mapping[Any, Any]) -> Row:
    named: dict[str, Any] = {}
    for name, cell in cells.items():
        if named.get(column_name(name)) is None:
            named[column_name(name)] = _without_audio(cell)
    return Row(number, named)


def _without_audio(cell: Any) -> Any:
    """The cell, or in place of audio that stands in the table itself the fact that it does."""
    if isinstance(cell, bytes) and len(cell) > 4096:  # longer than any path
        return {"bytes": True}
    if isinstance(cell, dict) and ("bytes" in cell or "array" in cell):  # an audio column of Hugging Face's
        inside = cell.get("bytes") is not None or cell.get("array") is not None
        return {"path": cell.get("path"), "bytes": inside}
    return cell


def _text(content: bytes) -> str:
    """Raises MediaError where it is no text that can be told."""
    if content.startswith(UTF_16):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MediaError("bad_manifest", f"line {line} is not UTF-8: save it as UTF-8") from error


def _paths(content: bytes) -> str:
    """The text of a list, where the names of some files may be no UTF-8."""
    try:
        return _text(content)
    except MediaError:
        if not any(line.strip().isascii() for line in content.splitlines() if line.strip()):
            raise
        return content.decode("utf-8", "surrogateescape")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line with anything on it, and its number; splitlines would cut at U+2028 inside a JSON string."""
    lines = ((number, line.strip()) for number, line in enumerate(re.split(r"\r\n|\n|\r", text), 1))
    return ((number, line) for number, line in lines if line)


def _list(content: bytes, _: str) -> Iterator[Row]:
    for number, line in _lines(_paths(content)):
        yield Row(number, {"path": line}, remark=line.startswith("#"))


def _playlist(content: bytes, name: str) -> Iterator[Row]:
    text = _paths(content)
    if re.search(r"^#EXT-X-", text, re.MULTILINE):
        raise MediaError("not_media", HLS.format(name=name.rsplit("/", 1)[-1]))
    for number, line in _lines(text):
        if not line.startswith("#"):
            yield Row(number, {"path": line})


def _json_lines(content: bytes, _: str) -> Iterator[Row]:
    text = _text(content)
    if text.lstrip().startswith("["):
        return _array(text)
    return itertools.starmap(_json_row, _lines(text))


def _json(content: bytes, name: str) -> Iterator[Row]:
    """JSON lines under this name too, as NeMo writes them; an array of rows; an object of columns or of rows."""
    text = _text(content)
    if not text.lstrip().startswith("{"):
        return _json_lines(content, name)
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        rows = list(_json_lines(content, name))
        if all(row.problem for row in rows):
            raise MediaError("bad_manifest", f"it is neither JSON nor JSON lines: {error}") from error
        return iter(rows)
    return _object({column_name(key): value for key, value in whole.items()}, whole)


def _json_row(number: int, text: str) -> Row:
    """The row, or one with a problem where the text is no JSON object: it becomes a dead letter of its own."""
    try:
        value = json.loads(text)
    except RecursionError:
        return Row(number, {}, "it is nested too deeply")
    except ValueError:
        value = None
    return _element(number, value)


def _element(number: int, value: Any) -> Row:
    if isinstance(value, dict):
        return _row(number, value)
    return Row(number, {"path": value}) if isinstance(value, str) else Row(number, {}, "it is no JSON object")


def _array(text: str) -> Iterator[Row]:
    """A row for each element; where the whole cannot be read, each element is read on its own."""
    try:
        elements = json.loads(text)
    except (ValueError, RecursionError):
        yield from itertools.starmap(_json_row, enumerate(_elements(text), 1))
        return
    yield from itertools.starmap(_element, enumerate(elements, 1))


def _elements(text: str) -> Iterator[str]:
    """The texts of the elements of an array, found by their brackets alone."""
    depth, start = 0, 0
    for mark in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark.group(), 0)
        opened = mark.group() == "[" and depth == 1
        if opened or (mark.group() == "," and depth == 1) or depth == 0:
            if not opened and text[start : mark.start()].strip():
                yield text[start : mark.start()]
            start = mark.end()
        if depth == 0:
            break
    if rest := text[start:].strip():
        yield rest  # the array has no end, or something behind it


def _object(columns: dict[str, Any], whole: dict[str, Any]) -> Iterator[Row]:
    """The rows of an object: of columns (pandas), of rows by their ids (SpeechBrain), or one row."""
    path = next(iter(_path_columns(columns)), None)
    if path is None:
        if not whole or not all(isinstance(row, dict) for row in whole.values()):
            raise _no_path_column(columns)
        for number, (name, row) in enumerate(whole.items(), 1):
            yield _row(number, {"id": name, **row})
        return
    paths = columns[path]
    if isinstance(paths, list):
        columns = {name: dict(enumerate(cells)) for name, cells in columns.items() if isinstance(cells, list)}
    elif not isinstance(paths, dict) or "path" in paths or "bytes" in paths:
        yield _row(1, columns)
        return
    for number, key in enumerate(columns[path], 1):
        yield _row(number, {name: cells.get(key) for name, cells in columns.items() if isinstance(cells, dict)})


def _csv(content: bytes, name: str) -> Iterator[Row]:
    text = _text(content)
    match = re.match(r"sep=(.)(\r\n|\n|\r)", text)  # Excel's own way to name the separator
    text = text[match.end() :] if match else text
    separators = match.group(1) if match else "\t,;|" if suffix_of(name) == ".tsv" else ",;\t|"

    def fit(separator: str) -> int:
        names = set(map(column_name, next(_records(text, separator), [])))
        return len(names & COLUMNS) if _path_columns(names) else -1

    separator = max(separators, key=fit)
    records = _unquoted(text) if suffix_of(name) == ".tsv" and separator == "\t" else _records(text, separator)
    header = next(records, [])
    if header and fit(separator) < 0:
        raise _no_path_column(map(column_name, header))
    rows = (record for record in records if record == [""] or any(map(str.strip, record)))  # not a line of `;;;`
    for number, record in enumerate(rows, 1):
        yield _row(number, dict(zip(header, record, strict=False)))


def _records(text: str, separator: str) -> Iterator[list[str]]:
    return filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=separator))


def _unquoted(text: str) -> Iterator[list[str]]:
    """The records of a .tsv: quotes mean themselves where each line has all cells, as in Common Voice's."""
    lines = [line.split("\t") for line in re.split(r"\r\n|\n|\r", text) if line]
    if len(set(map(len, lines))) != 1:
        return _records(text, "\t")
    return ([re.sub(r'^"(.*)"$', r"\1", cell).replace('""', '"') for cell in line] for line in lines)


def _parquet(content: bytes, _: str) -> Iterator[Row]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(io.BytesIO(content)) as file:
        names = file.schema_arrow.names
        if not _path_columns(known := [column_name(name) for name in names]):
            raise _no_path_column(known)
        wanted = [name for name in names if column_name(name) in COLUMNS]  # others may hold whole recordings
        batches = file.iter_batches(ROWS_AT_ONCE, columns=wanted)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from itertools.starmap(_row, enumerate(rows, 1))


KINDS: dict[str, Callable[[bytes, str], Iterator[Row]]] = {
    ".txt": _list,
    ".m3u": _playlist,
    ".m3u8": _playlist,
    ".csv": _csv,
    ".tsv": _csv,
    ".json": _json,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}
MANIFEST_SUFFIXES = frozenset(KINDS)
