"""A hundred damaged media through the main job, of the thousands that `script/fuzz` makes."""

from __future__ import annotations

import pytest

from benchmarks.fuzz import KINDS, Ran, fuzz_run, grown, make_bases, mutated, sizes

pytestmark = pytest.mark.long(45)

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


def test_every_file_is_in_one_run():
    assert sizes(1_500) == [range(1_000), range(1_000, 1_500)]
    assert sizes(100) == [range(100)]


def test_a_run_whose_memory_grows_is_found():
    swings, grows = [900, 500, 1_200, 800] * 25, [500 + 10 * step for step in range(100)]
    steady, leaking = (Ran(1_000, {}, 1.0, memory_mb, []) for memory_mb in (swings, grows))
    assert grown([steady]) == []
    assert grown([steady, leaking]) == ["memory grew by 500 MB over 1000 files"]
