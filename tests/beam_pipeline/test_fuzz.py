"""A hundred damaged media through the main job, of the thousands that `script/fuzz` makes."""

from __future__ import annotations

import pytest

from benchmarks.fuzz import KINDS, Ran, fuzz_run, grown, make_bases, mutated, sizes

FILES = 100
SEED = 7
SLOW = 10  # the machine may have other work


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return make_bases(tmp_path_factory.mktemp("bases"))


def test_a_hundred_damaged_media_cost_nothing_but_themselves(bases, tmp_path):
    ran = fuzz_run(range(FILES), SEED, bases, tmp_path / "run", SLOW)
    assert ran.faults == []
    assert len(ran.outcomes) == FILES
    assert {"ok", "not_media"} <= set(ran.outcomes.values())


def test_a_file_depends_on_the_seed_and_its_number_alone(bases):
    assert mutated(17, 1, bases) == mutated(17, 1, bases)
    assert mutated(17, 1, bases)[1] != mutated(17, 2, bases)[1]


def test_every_kind_of_damage_is_done(bases):
    names = [mutated(number, SEED, bases)[0] for number in range(FILES)]
    assert {name.split("-")[1].split(".")[0] for name in names} == set(KINDS)


def test_every_file_is_in_one_run_and_a_small_run_comes_first():
    assert sizes(2_000) == [range(200), range(200, 1_200), range(1_200, 2_000)]
    assert sizes(100) == [range(100)]


def test_a_run_that_takes_more_memory_than_the_first_is_found():
    first, same, more = (Ran(files, {}, 1.0, peak, []) for files, peak in ((200, 500), (1_000, 540), (1_000, 900)))
    assert grown([first, same]) == []
    assert grown([first, same, more]) == ["1000 files took 900 MB"]
