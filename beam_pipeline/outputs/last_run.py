"""The last run on an output, read from its committed layers alone, during the run and after it."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from beam_pipeline.config import read_config
from beam_pipeline.errors import NoRunError
from beam_pipeline.parser import Parser
from beam_pipeline.terminal import configure_streams, print_error
from runners.jobs import still_runs
from transforms.dofns.threads import map_in_threads
from transforms.records import DeadLetter, Name, PlannedMedia, from_plain
from transforms.storage import Stores, join
from transforms.storage.profiles import read_profiles
from transforms.work.exit_code import ENDS, ExitCode
from transforms.work.lease import LEASE_S, latest_lease, process_is_gone
from transforms.work.store import RECORD, Inventory, WorkStore, from_json, incomplete


class Fingerprints(NamedTuple):
    """The fingerprints of the layers that a run used."""

    asr: str
    saved: str
    translation: str = ""
    translation_language: str = ""
    generation: int = 0


class RunRecord(NamedTuple):
    """The fields of run.json that the commands need."""

    run: str
    command: tuple[Name, ...]
    options: dict[str, Any]
    layers: Fingerprints
    model: dict[str, Any]
    versions: dict[str, Any]
    host: str
    started: str
    ended: str = ""


@dataclasses.dataclass(frozen=True)
class LastRun:
    """The last run on an output. Every figure comes from listings, so `status`, `failures` and the dataset agree."""

    record: dict[str, Any]  # run.json
    work: WorkStore

    @functools.cached_property
    def planned(self) -> list[PlannedMedia]:
        return list(self.work.plan())

    @functools.cached_property
    def _inventory(self) -> Inventory:
        return self.work.list_now()

    @functools.cached_property
    def _transcribed(self) -> set[str]:
        return set(self._inventory.chunks)

    def is_failed(self, media: PlannedMedia) -> bool:
        return media.source in self._inventory.dead

    def is_done(self, media: PlannedMedia) -> bool:
        states = self._inventory.saved.get(media.name, ())
        saved = media.state in states or incomplete(media.state) in states
        return saved and media.source in self._transcribed and not self.is_failed(media)

    def dead_letters(self) -> Iterator[DeadLetter]:
        """Why each recording that failed did, in order of its id."""
        failed = [media.source for media in self.planned if self.is_failed(media)]
        found = (letter for letter in map_in_threads(self.work.dead_letter_of, failed) if letter)
        yield from sorted(found, key=lambda letter: (letter.media.id, letter.media.media_id))

    def summary(self) -> dict[str, Any] | None:
        """summary.json if this run has finished; before that it may be the one of an earlier run.

        None also where it cannot be read.
        """
        if self.record.get("exit_code") not in ENDS:
            return None
        try:
            found = from_json(self.work.store.read(join(self.work.output, "summary.json")))
        except (FileNotFoundError, ValueError):
            return None  # gone or damaged since
        return found if isinstance(found, dict) else None

    def state(self) -> str:
        """ "running", "finished", or "stopped" where it was killed."""
        if "ended" in self.record:
            return "finished"
        if not self.last_heartbeat or self.last_heartbeat["ended"]:
            return "stopped"
        if self.last_heartbeat.get("job") and still_runs(self.last_heartbeat["job"]):
            return "running"
        if process_is_gone(self.last_heartbeat):
            return "stopped"
        return "running" if time.time() - self.last_heartbeat["seen"] < LEASE_S else "stopped"

    @functools.cached_property
    def last_heartbeat(self) -> dict[str, Any]:
        """The latest lease record of this run: host, process, time and counts; empty if another run has the lease."""
        found = latest_lease(self.work)
        return found[1] if found and found[1].get("run") == self.work.run else {}


def read(place: str, stores: Stores) -> LastRun:
    """The last run on a place.

    Raises:
        NoRunError: there was none, its run.json is damaged, or the place is empty.
        OSError: the place cannot be read.
    """
    if not place.removeprefix("file://").strip():
        raise NoRunError("--output is empty: is a variable not set?")
    store = stores.serving(place)
    output = store.canonical(place)
    try:
        record = from_json(store.read(join(output, RECORD)))
        run_record = from_plain(RunRecord, {name: record[name] for name in RunRecord._fields if name in record})
        for moment in filter(None, (run_record.started, run_record.ended)):
            datetime.datetime.fromisoformat(moment)
    except FileNotFoundError as error:
        raise NoRunError(f"no run has written to {output}: there is no run.json") from error
    except (ValueError, TypeError) as error:
        raise NoRunError(f"{output}/run.json is damaged, and the next run writes it anew: {error}") from error
    return LastRun(record, WorkStore(output, stores=stores, run=run_record.run, **run_record.layers._asdict()))


def run_query(
    argv: Sequence[str] | None, program: str, description: str, answer: Callable[[argparse.Namespace], ExitCode]
) -> ExitCode:
    """Run a command that reads an output and return its exit code; USAGE and one line on stderr without a run."""
    made = Parser(prog=f"python -m {program}", description=description, allow_abbrev=False)
    made.add_argument("--output", required=True, metavar="FOLDER", help="what was the run's --output")
    if program.endswith("status"):
        made.add_argument("--watch", action="store_true", help="look again every few seconds until the run ends")
    if program.endswith("prune"):
        made.add_argument("--dry_run", action="store_true", help="tell what would be removed, and remove nothing")
    return run_with_stores(argv, made, answer)


def run_with_stores(
    argv: Sequence[str] | None, made: Parser, answer: Callable[[argparse.Namespace], ExitCode]
) -> ExitCode:
    """Run a command that reads outputs, with the stores of its --config, and return its exit code."""
    configure_streams()
    made.add_argument("--config", metavar="FILE.yaml", help="a run's config file, where it describes stores")
    made.add_argument("--json", action="store_true", help="print JSON")
    try:
        flags = made.parse_args(argv)
        flags.stores = Stores(read_profiles(read_config(flags.config)[1] if flags.config else {}))
        return answer(flags)
    except (NoRunError, OSError, ValueError) as error:
        print_error(f"error: {error}")
        return ExitCode.USAGE
