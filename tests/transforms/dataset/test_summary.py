from __future__ import annotations

import time

from transforms.dataset.summary import MergeSummaries, Summary, add

ONE = {("media",): 1, ("duration_sec", "min"): 3.0, ("duration_sec", "max"): 3.0}
OTHER = {("media",): 2, ("duration_sec", "min"): 1.0, ("duration_sec", "max"): 2.0, ("windows",): 4}


def merged(*parts):
    """As a runner does it: some parts into one accumulator, and the accumulators into one."""
    combine = MergeSummaries()
    totals = [combine.add_input(combine.create_accumulator(), Summary(part)) for part in parts]
    return combine.extract_output(combine.merge_accumulators(totals))


def test_figures_are_added_and_extremes_kept():
    both = {("media",): 3, ("duration_sec", "min"): 1.0, ("duration_sec", "max"): 3.0, ("windows",): 4}
    assert merged(ONE, OTHER) == merged(OTHER, ONE) == add(Summary(ONE), Summary(OTHER)) == both


def test_a_minimum_of_nothing_stays():
    assert merged({("duration_sec", "min"): 0.0}, {("duration_sec", "min"): 2.0}) == {("duration_sec", "min"): 0.0}


def test_a_part_is_not_changed_by_being_added():
    part = Summary(ONE)
    add(Summary(OTHER), part)
    assert part == ONE


def test_adding_up_does_not_take_longer_for_each_shard_the_more_there_were():
    def seconds(shards):
        total, started = MergeSummaries().create_accumulator(), time.process_time()
        for shard in range(shards):
            MergeSummaries().add_input(total, Summary({("media",): 1, ("_shards", str(shard)): 1}))
        return time.process_time() - started

    seconds(100)
    assert seconds(20_000) < 100 * seconds(1_000)  # 20 times as many; it was 400 times as long
