"""The rows of manifests, as people and other tools write them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from transforms.dead_letters import MediaError
from transforms.media.suffixes import suffix_of

MANIFEST_SUFFIXES = frozenset([".txt", ".csv", ".jsonl", ".parquet"])
PATH_COLUMNS = ("path", "uri", "url", "file")


def read_manifest(content: bytes, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a manifest as dicts; a .txt has one path a line.

    Raises:
        MediaError: it cannot be read, or has no column for the path.
    """
    try:
        rows = list(_parse_manifest(content, suffix_of(name)))
    except (ValueError, OSError, csv.Error) as error:  # pyarrow's errors are ValueErrors or OSErrors
        raise MediaError("bad_manifest", str(error)) from error
    if rows and not any(column in row for row in rows for column in PATH_COLUMNS):
        raise MediaError("bad_manifest", f"no column is named {', '.join(PATH_COLUMNS)}")
    yield from rows


def _parse_manifest(content: bytes, suffix: str) -> Iterator[dict[str, Any]]:
    if suffix == ".parquet":
        import pyarrow.parquet

        yield from pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
        return
    text = content.decode("utf-8-sig")
    if suffix == ".csv":
        yield from csv.DictReader(io.StringIO(text, newline=""))
        return
    for line in filter(str.strip, text.split("\n")):  # splitlines would cut at U+2028 inside a JSON string
        yield _json_row(line) if suffix == ".jsonl" else {"path": line.strip()}


def _json_row(line: str) -> dict[str, Any]:
    """The row, or one without a path where the line is no JSON object: it becomes a dead letter of its own."""
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    return row if isinstance(row, dict) else {"path": ""}
