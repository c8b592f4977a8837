"""What changed between two runs, from their outputs alone: `python -m beam_pipeline.diff A B`.

Media are matched by media_id, and by id where the input lies elsewhere. Rows go through a temporary database on disk,
so that neither the number of media nor their texts need to fit into memory: held are a batch of rows and the texts of
one recording of both runs.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import json
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from beam_pipeline import terminal
from beam_pipeline.outputs.dataset import rows
from beam_pipeline.outputs.last_run import LastRun, read, run_with_stores
from beam_pipeline.outputs.word_error import TextComparison, compare_texts
from beam_pipeline.parser import Parser
from transforms.storage.texts import printable
from transforms.work.exit_code import ExitCode

DESCRIPTION = "Compare two runs: options, media, and the word error between their texts, A as the reference."
# where a run writes, and where its model lies, is no difference
PLACES = {"output", "path"}
TABLES = """
    create table media (run, media_id, id, state, language, text);
    create table pair (a, b);
"""
INDEX = "create index by_media_id on media (media_id); create index by_id on media (id);"
BY_MEDIA_ID = """
    insert into pair select a.rowid, b.rowid from media a join media b using (media_id) where a.run = 0 and b.run = 1
"""
LONELY = """
    create temp table lonely as
    select rowid as row, run, id, count(*) over (partition by run, id) as namesakes from media
    where rowid not in (select a from pair) and rowid not in (select b from pair);
    create index lonely_by_id on lonely (id);
"""
BY_ID = """
    insert into pair select a.row, b.row from lonely a join lonely b using (id)
    where a.run = 0 and b.run = 1 and a.namesakes = 1 and b.namesakes = 1
"""
ALONE = """
    from media where run = ? and rowid not in (select a from pair) and rowid not in (select b from pair)
"""
CHANGED = "from pair join media a on a.rowid = pair.a join media b on b.rowid = pair.b where a.state != b.state"
TEXTS = """
    select b.id, a.language, a.text, b.text
    from pair join media a on a.rowid = pair.a join media b on b.rowid = pair.b
    where a.text is not null and b.text is not null
"""


def main(argv: Sequence[str] | None = None) -> ExitCode:
    """Print what changed; gives DONE also where much did, USAGE where there is nothing to compare."""
    made = Parser(prog="python -m beam_pipeline.diff", description=DESCRIPTION, allow_abbrev=False)
    made.add_argument("a", metavar="A", help="the --output of one run, the reference")
    made.add_argument("b", metavar="B", help="the --output of the other run")
    made.add_argument("--limit", type=int, default=10, metavar="N", help="media shown in each list; 10 if not given")

    def answer(flags: argparse.Namespace) -> ExitCode:
        if flags.limit < 0:
            made.error(f"--limit {flags.limit}: give 0 or more")
        a, b = read(flags.a, flags.stores), read(flags.b, flags.stores)
        try:
            return _show(compare(a, b, flags.limit), flags.json)
        except sqlite3.OperationalError as error:
            raise OSError(f"the temporary database: {error}; set TMPDIR to a folder with room") from error

    return run_with_stores(argv, made, answer)


def _show(found: dict[str, Any], as_json: bool) -> ExitCode:
    terminal.print_result(json.dumps(found, indent=1) if as_json else "\n".join(map(printable, lines(found))))
    return ExitCode.DONE


def compare(a: LastRun, b: LastRun, limit: int) -> dict[str, Any]:
    """All that differs; lists hold at most `limit` media."""
    database = sqlite3.connect("")  # a file that is deleted when it is closed
    database.executescript(TABLES)
    for number, run in enumerate((a, b)):
        database.executemany(f"insert into media values ({number}, ?, ?, ?, ?, ?)", _media(run))
    for statement in (INDEX, BY_MEDIA_ID, LONELY, BY_ID):
        database.executescript(statement)
    total, languages, worst = _texts(database, limit)
    return {
        "a": _about(a),
        "b": _about(b),
        "options": differing(a.record["options"], b.record["options"]),
        "models": differing(a.record["model"], b.record["model"]),
        "versions": differing(a.record["versions"], b.record["versions"]),
        "media": _counts(database),
        "gone": _ids(database, 0, limit),
        "added": _ids(database, 1, limit),
        "changed": [
            dict(zip(("id", "a", "b"), row, strict=True))
            for row in database.execute(f"select b.id, a.state, b.state {CHANGED} order by 1, 2, 3 limit ?", [limit])
        ],
        "texts": total.to_json(),
        "languages": {code: each.to_json() for code, each in sorted(languages.items())},
        "worst": [{"id": name, "language": code, **each.to_json()} for name, code, each in worst],
    }


def _about(run: LastRun) -> dict[str, Any]:
    return {
        "output": run.work.output,
        "run": run.work.run,
        "started": run.record["started"],
        "state": run.state(),
    }


def differing(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    """The values of both sides for each name whose values differ; None where one has none."""
    pairs = {name: [a.get(name), b.get(name)] for name in sorted({*a, *b} - PLACES)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _media(run: LastRun) -> Iterator[tuple[str | None, ...]]:
    """Each recording of a run: media_id, id, state, language, text (None where it failed)."""
    read_rows = functools.partial(rows, run.work.store, run.work.output)
    for row in read_rows("transcripts", ["media_id", "id", "status", "language", "transcription"]):
        yield row["media_id"], row["id"], row["status"], row["language"] or "none", row["transcription"]
    for row in read_rows("dead_letters", ["media_id", "id", "code"]):
        yield row["media_id"], row["id"], f"failed: {row['code']}", None, None


def _counts(database: sqlite3.Connection) -> dict[str, int]:
    """How many media there are on each side, on both and on one alone, and how many changed their status."""

    def count(what: str, *values: int) -> int:
        return database.execute(f"select count(*) {what}", values).fetchone()[0]

    sides = {"a": count("from media where run = 0"), "b": count("from media where run = 1")}
    alone = {"gone": count(ALONE, 0), "added": count(ALONE, 1)}
    return {**sides, "both": count("from pair"), **alone, "changed": count(CHANGED)}


def _ids(database: sqlite3.Connection, run: int, limit: int) -> list[str]:
    """The first ids of media that one run alone has."""
    return [row[0] for row in database.execute(f"select id {ALONE} order by id limit ?", (run, limit))]


def _texts(
    database: sqlite3.Connection, limit: int
) -> tuple[TextComparison, dict[str, TextComparison], list[tuple[str, str, TextComparison]]]:
    """All texts together, those of each language of A, and the media that differ most."""
    languages: dict[str, TextComparison] = {}
    worst: list[tuple[str, str, TextComparison]] = []
    for name, language, one, other in database.execute(TEXTS):
        compared = compare_texts(one, other, language)
        languages[language] = languages.get(language, TextComparison()).plus(compared)
        if compared.errors:
            worst = heapq.nsmallest(limit, [*worst, (name, language, compared)], _by_error)
    total = TextComparison()
    for each in languages.values():
        total = total.plus(each)
    return total, languages, worst


def _by_error(row: tuple[str, str, TextComparison]) -> tuple[float, int, str]:
    return -row[2].word_error, -row[2].errors, row[0]


def lines(found: dict[str, Any]) -> list[str]:
    """The differences as lines of text."""
    shown = []
    for side in ("a", "b"):
        about = found[side]
        shown.append(f"{side.upper()} {about['output']}: run {about['run']}, {about['started']}")
        if about["state"] != "finished":
            shown[-1] += f" ({about['state']}: what is compared is the dataset of the run before it)"
    for name in ("options", "models", "versions"):
        pairs = [f"{key}: {_value(a)} → {_value(b)}" for key, (a, b) in found[name].items()]
        shown += _listed(f"{name} that differ", pairs)
    media, texts = found["media"], found["texts"]
    shown += ["", f"{media['a']} media in A, {media['b']} in B, {media['both']} in both"]
    for name in ("gone", "added"):
        shown += _listed(f"{media[name]} {name}", found[name], media[name])
    changed = [f"{each['id']}: {each['a']} → {each['b']}" for each in found["changed"]]
    shown += _listed(f"{media['changed']} with another status", changed, media["changed"])
    shown += ["", f"{texts['media']} texts in both, {texts['identical']} identical"]
    rates = {"all": texts, **found["languages"]} if texts["media"] else {}
    shown += [f"  {_rate(each)}  {code}" for code, each in rates.items()]
    worst = [f"{_rate(each)}  {each['id']} ({each['language']})" for each in found["worst"]]
    return shown + _listed("those that differ most", worst)


def _listed(title: str, entries: list[str], of: int = 0) -> list[str]:
    """A list under its title; nothing if it is empty. `of` is the total if only a part is listed."""
    more = [f"and {of - len(entries)} more"] if of > len(entries) else []
    return ["", title, *(f"  {entry}" for entry in entries + more)] if entries or more else []


def _rate(figures: dict[str, Any]) -> str:
    return f"{figures['word_error']:7.1%} word error ({figures['errors']} of {figures['words']})"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


if __name__ == "__main__":
    sys.exit(main())
