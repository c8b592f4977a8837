"""Failures are counted once a run, over every copy of the step that counts them."""

from __future__ import annotations

import pathlib

import pytest

from tests.conftest import media_of
from transforms.dead_letters import FailureLimit, TooManyFailuresError
from transforms.dofns.failure_count import FailureCount, failure_count
from transforms.dofns.metrics import UNWATCHED
from transforms.records import DeadLetter, MediaOutcome
from transforms.save_media import Save, SaveConfig
from transforms.work.store import WorkStore


def work(tmp_path, run):
    return WorkStore(str(tmp_path / "out"), "asr", "saved", run=run)


def outcome(number, failed=True):
    media = media_of(pathlib.Path(f"{number}.mp3"), media_id=f"{number:032x}")
    return MediaOutcome(media, failed=failed, fresh=True)


def added(counts, outcomes):
    """How many outcomes the counts take in turn before one of them raises."""
    for number, each in enumerate(outcomes):
        try:
            counts[number % len(counts)].add(each)
        except TooManyFailuresError:
            return number + 1
    return None


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize(("most", "stops_at"), [(0, 1), (3, 4), (0.5, 20), (50, None)])
def test_copies_of_a_step_in_one_process_count_together(tmp_path, copies, most, stops_at):
    run = f"of {copies} and {most}"
    counts = [failure_count(work(tmp_path, run), FailureLimit(most)) for _ in range(copies)]
    assert added(counts, map(outcome, range(40))) == stops_at


def test_processes_see_what_others_counted_where_the_limit_is_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr("transforms.dofns.failure_count.LOOK_EVERY_S", 0)
    counts = [FailureCount(work(tmp_path, "run1"), FailureLimit(5)) for _ in range(3)]
    assert added(counts, map(outcome, range(40))) == 6
    another = FailureCount(work(tmp_path, "run2"), FailureLimit(5))
    assert added([another], map(outcome, range(40))) == 6
    work(tmp_path, "run2").delete_other_plans()
    assert work(tmp_path, "run1").failures() == 0


def test_a_recording_that_fails_twice_counts_once_and_a_share_counts_what_went_well(tmp_path):
    count = FailureCount(work(tmp_path, "run"), FailureLimit(1))
    assert added([count], [outcome(1)] * 9) is None
    share = FailureCount(work(tmp_path, "run"), FailureLimit(0.5))
    assert added([share], [outcome(number, failed=number % 2 == 1) for number in range(40)]) is None


def test_copies_of_the_step_stop_soon_behind_the_limit(tmp_path):
    """As a runner does it: bundles by turns on several copies, each saving several media at once."""
    most, written = 10, work(tmp_path, "by turns")
    copies = [Save(written, SaveConfig(limit=FailureLimit(most)), UNWATCHED) for _ in range(4)]
    for copy in copies:
        copy.setup()
        copy.start_bundle()
    with pytest.raises(TooManyFailuresError, match=r"1\d of 1\d media failed, more than --max_failures 10 allows"):
        for number in range(200):
            letter = DeadLetter(outcome(number).media, "DecodeAudio", "not_media", "Play it.")
            list(copies[number % 4].process(letter))
            if number % 8 == 7:
                list(copies[number % 4].finish_bundle())
                copies[number % 4].start_bundle()
    for copy in copies:
        copy.teardown()
    assert len(written.list_now().dead) < 2 * most + 32
