"""A run ends in one way, wherever its last step is: its generation, run.json and its claim agree on it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from transforms.work.ending import end_in_cluster, end_run
from transforms.work.exit_code import ExitCode
from transforms.work.lease import OccupiedError, acquire, latest_lease
from transforms.work.store import WorkStore

RECORD = {"run": "a", "started": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def work(tmp_path):
    """Of a run in a second generation, which is open, with its run.json."""
    made = WorkStore(str(tmp_path), "asr", "saved", run="a", generation=1)
    made.commit_generation(finished=False)
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    return made


def told(work, tmp_path):
    """run.json without the moment of its end, whether the generation is open, and whether the output is free."""
    record = json.loads((tmp_path / "run.json").read_text())
    assert record.pop("ended") >= RECORD["started"]
    return record, work.in_generation(anew=True).generation == work.generation, latest_lease(work)[1]["ended"]


@pytest.mark.parametrize(
    ("code", "is_open"), [(ExitCode.DONE, False), (ExitCode.WITH_DEAD_LETTERS, False), (ExitCode.FAILED, True)]
)
def test_only_a_run_that_came_to_its_end_finishes_its_generation(work, tmp_path, code, is_open):
    end_run(work, acquire(work), RECORD, code, counters={"save.media": 2})
    says = {**RECORD, "exit_code": code, "counters": {"save.media": 2}}
    assert told(work, tmp_path) == (says, is_open, True)


def test_a_run_in_a_cluster_ends_as_one_here_does(work, tmp_path):
    acquire(work).renew(job={"place": "a cluster"}, left=True)
    end_in_cluster(work, ExitCode.DONE)
    assert told(work, tmp_path) == ({**RECORD, "exit_code": ExitCode.DONE}, False, True)
    end_in_cluster(work, ExitCode.DONE)  # a worker tries its last step again
    assert told(work, tmp_path) == ({**RECORD, "exit_code": ExitCode.DONE}, False, True)


def test_the_last_step_of_a_run_here_leaves_the_end_to_who_started_it(work, tmp_path):
    acquire(work)
    end_in_cluster(work, ExitCode.DONE)
    assert json.loads((tmp_path / "run.json").read_text()) == RECORD
    assert not latest_lease(work)[1]["ended"]


@pytest.mark.parametrize("damaged", ["{", "[]"])
def test_a_record_that_was_damaged_costs_a_cluster_only_that(work, tmp_path, damaged):
    acquire(work).renew(job={"place": "a cluster"})
    (tmp_path / "run.json").write_text(damaged)
    end_in_cluster(work, ExitCode.DONE)
    assert (tmp_path / "run.json").read_text() == damaged
    assert latest_lease(work)[1]["ended"]


def test_a_run_that_lost_its_output_says_nothing_on_it(work, tmp_path):
    lease = acquire(work)
    lease.release()
    acquire(dataclasses.replace(work, run="b"))
    with pytest.raises(OccupiedError, match="took over"):
        end_run(work, lease, RECORD, ExitCode.DONE)
    assert json.loads((tmp_path / "run.json").read_text()) == RECORD
    assert not latest_lease(work)[1]["ended"]
