"""Accept a model, with this software around it, on a public set of speech: FLEURS in Hindi and English.

    script/accept --model openai/whisper-large-v3 [--help] [flags of the main job, such as --device or --runner]

Fetches the set, runs the main job over it, counts the errors, and prints a table last. Exits with 0 where every
language is within its limits; with 1 where one is not, where no limits are known for the model, or where the run
failed; with 2 where nothing was run, for wrong usage or for want of the set. Run again, it goes on where it was. See
docs/acceptance.md.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from beam_pipeline import parser
from beam_pipeline.outputs.dataset import rows
from beam_pipeline.outputs.last_run import LastRun, read
from benchmarks.acceptance import fleurs
from benchmarks.acceptance.accuracy import Heard, score, worst
from benchmarks.acceptance.fleurs import SetError, Utterance
from benchmarks.acceptance.silence import write_silence
from benchmarks.acceptance.verdict import Limit, Measured, faults_of, limits_of, lines
from transforms.engines.catalog import ModelError, describe, fetch_config
from transforms.storage import Stores
from transforms.storage.profiles import read_profiles
from transforms.work.exit_code import ENDS, ExitCode

ROOT = pathlib.Path(__file__).parent.parent
ACCEPTED, REFUSED, USAGE = ExitCode.DONE, ExitCode.FAILED, ExitCode.USAGE
WORST = 3  # utterances shown of each language


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        flags, passed = parse(argv)
        job = ["--input", str(flags.output / "manifest.jsonl"), "--output", str(flags.output / "run"), *passed]
        model = check_job(job)
        spoken = fetch(flags)
    except (ValueError, ModelError, SetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    limits = limits_of(model, flags.max_wer)
    announce(spoken, [name for name in flags.sets if name not in limits])
    silent = write_silence(flags.output / "audio")
    write_manifest(flags.output, spoken, silent, flags.detect)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = subprocess.run([sys.executable, "-m", "beam_pipeline", *job], env=environment, check=False).returncode
    if code not in ENDS:
        print(f"error: the run ended with {code}, so there is nothing to judge", file=sys.stderr)
        return USAGE if code == USAGE else REFUSED
    return report(read(job[3], Stores(read_profiles({}))), spoken, silent, limits, flags)


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Flags of this command, and those that are for the main job."""
    made = parser.Parser(
        prog="script/accept",
        description="Run FLEURS through the main job, count the errors, and exit with 1 above the limits.",
        epilog="All other flags go to the main job, such as --model, --device, --batch_size and --runner.",
        allow_abbrev=False,
    )
    names = list(fleurs.LANGUAGES)
    made.add_argument("--sets", nargs="+", choices=names, default=names, help="languages; all if none is given")
    made.add_argument("--limit", type=int, default=0, metavar="N", help="utterances of each language; 0 is all")
    made.add_argument("--seed", type=int, default=1, help="of the sample that --limit takes")
    made.add_argument("--detect", action="store_true", help="do not tell the model the language")
    made.add_argument(
        "--max_wer", nargs="+", type=_share, default=[], metavar="SET=SHARE", help="limits, as hi_in=0.3 en_us=0.1"
    )
    made.add_argument("--folder", type=pathlib.Path, help="the set's files, where they were fetched elsewhere")
    made.add_argument("--output", type=pathlib.Path, default=ROOT / "out" / "accept", help="where all is written")
    made.add_argument("--results", type=pathlib.Path, metavar="FOLDER", help="write a dated result file there")
    flags, passed = made.parse_known_args(argv)
    flags.output = flags.output.absolute()
    if flags.limit < 0:
        made.error(f"--limit {flags.limit}: give 0 or more")
    return flags, passed


def _share(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    if name not in fleurs.LANGUAGES or not re.fullmatch(r"\d+(\.\d+)?", share):
        raise argparse.ArgumentTypeError(f"{text}: write as hi_in=0.3, a share of the words")
    return name, float(share)


def check_job(words: list[str]) -> str:
    """The model that the main job will run, where these words can be its command line and its model can be had.

    Raises:
        ValueError: a flag is one that acceptance sets itself, or there is no such model.
        ModelError: the hub does not give the model.
    """
    flags, _ = parser.parse(words)
    if flags.input != words[1:2] or flags.output != words[3] or flags.language or flags.dry_run or flags.no_wait:
        raise ValueError("script/accept sets --input, --output and --language, and allows no --dry_run and --no_wait")
    fetch_config(describe(flags.model, flags.model_revision).path, flags.model_revision or "main")
    return flags.model


def fetch(flags: argparse.Namespace) -> list[Utterance]:
    """The utterances to run, with their audio below the output.

    Raises:
        SetError: the set cannot be had, or is not what it should be.
    """
    if flags.folder is None:
        print(f"{fleurs.REPOSITORY} ({fleurs.LICENSE}) from the hub or its cache", file=sys.stderr)
    spoken = []
    for name, (texts, audio) in fleurs.find(flags.sets, flags.folder).items():
        chosen = fleurs.sample(fleurs.read_utterances(texts, name), flags.limit, flags.seed)
        fleurs.unpack(audio, chosen, flags.output / "audio")
        spoken += chosen
    return spoken


def announce(spoken: Sequence[Utterance], without_limit: Sequence[str]) -> None:
    """Say what is about to be run."""
    hours = sum(each.duration_s for each in spoken) / 3600
    print(f"{len(spoken)} utterances, {hours:.2f} hours of audio", file=sys.stderr)
    for name in without_limit:
        print(f"{name}: no limit is known for this model, so it is only measured", file=sys.stderr)


def write_manifest(folder: pathlib.Path, spoken: Sequence[Utterance], silent: Sequence[str], detect: bool) -> None:
    """The media for the main job; those without speech pass for the first one's language."""
    languages = {each.id: each.language for each in spoken} | dict.fromkeys(silent, spoken[0].language)
    media = (
        {"path": f"audio/{name}", "id": name, "language": "" if detect else language}
        for name, language in languages.items()
    )
    (folder / "manifest.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in media))


def report(
    run: LastRun,
    spoken: Sequence[Utterance],
    silent: Sequence[str],
    limits: Mapping[str, Limit],
    flags: argparse.Namespace,
) -> int:
    """Say what came out, the table last, and give the exit code."""
    heard = read_heard(run)
    by_set = {name: [each for each in spoken if each.set_name == name] for name in flags.sets}
    measured = measure(run, by_set, silent, heard)
    faults = [fault for name, got in measured.scores.items() for fault in faults_of(name, got, limits.get(name))]
    for utterances in by_set.values():
        for rate, each in worst(utterances, heard, WORST):
            found = heard[each.id]
            print(f"{rate:7.1%}  {each.id}\n   said  {each.text}\n  heard  {found.failure or found.text}")
    if flags.results:
        print(f"written: {write_results(flags, run, measured, limits, faults)}")
    print("\n".join(lines(measured, limits, flags.detect, faults)))
    return REFUSED if faults else ACCEPTED


def read_heard(run: LastRun) -> dict[str, Heard]:
    """What became of each recording of a run, by its id."""
    read_rows = functools.partial(rows, run.work.store, run.work.output)
    done = read_rows("transcripts", ["id", "transcription", "language"])
    heard = {row["id"]: Heard(row["transcription"], row["language"] or "") for row in done}
    return heard | {row["id"]: Heard(failure=row["code"]) for row in read_rows("dead_letters", ["id", "code"])}


def measure(
    run: LastRun, by_set: Mapping[str, Sequence[Utterance]], silent: Sequence[str], heard: Mapping[str, Heard]
) -> Measured:
    """The figures of each language, and of the run."""
    summary = run.summary()
    assert summary, "the run came to its end, or there would be nothing to measure"
    this_run = summary["this_run"]
    return Measured(
        {name: score(utterances, heard) for name, utterances in by_set.items()},
        {name: len(heard[name].text.split()) for name in silent},
        this_run.get("audio_sec", 0.0),
        this_run["wall_sec"],
    )


def write_results(
    flags: argparse.Namespace, run: LastRun, measured: Measured, limits: Mapping[str, Limit], faults: Sequence[str]
) -> pathlib.Path:
    """Everything that was measured, and of what, in a file named after the day and the model."""
    model, day = run.record["model"], datetime.datetime.now(datetime.UTC).date().isoformat()
    found: dict[str, Any] = {
        "date": day,
        "model": model,
        "set": {"repository": fleurs.REPOSITORY, "revision": fleurs.REVISION, "license": fleurs.LICENSE},
        "sample": {name: getattr(flags, name) for name in ("limit", "seed", "detect")},
        "folder": str(flags.folder or ""),  # where the set's files were not the hub's
        "accepted": not faults,
        "faults": list(faults),
        "scores": {name: got._asdict() for name, got in measured.scores.items()},
        "most_wer": {name: limit.wer for name, limit in limits.items()},
        "silence": measured.silence,
        "this_run": {"audio_sec": measured.audio_s, "wall_sec": measured.wall_s},
        "options": run.record["options"],
        "versions": run.record["versions"],
    }
    flags.results.mkdir(parents=True, exist_ok=True)
    path = flags.results / f"{day}-{re.sub('[^A-Za-z0-9.-]+', '_', model['name']).strip('_')}.json"
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
