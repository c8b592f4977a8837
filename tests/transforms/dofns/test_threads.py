"""Works in threads: every result once, no more at once than asked for, none left behind by a bundle that ended."""

from __future__ import annotations

import itertools
import threading

import pytest

from transforms.dofns.threads import BundleThreads, map_in_threads


class Gate:
    """Lets works through when it is opened, and counts those that stand in it."""

    def __init__(self) -> None:
        self.open, self._counting = threading.Event(), threading.Lock()
        self.inside = self.most = 0

    def through(self, number: int) -> list[int]:
        with self._counting:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.open.wait(30)
        with self._counting:
            self.inside -= 1
        return [number]


def own_threads(before: set[threading.Thread]) -> set[threading.Thread]:
    return set(threading.enumerate()) - before


def raising(error: BaseException) -> list[int]:
    raise error


def test_results_are_in_the_order_of_the_items():
    assert list(map_in_threads(lambda each: -each, range(100), threads=3)) == [-each for each in range(100)]


def test_an_error_stands_where_its_result_would():
    results = map_in_threads(lambda each: 1 // (3 - each), range(9), threads=2)
    assert list(itertools.islice(results, 3)) == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize(("threads", "room"), [(1, 1), (1, 0), (3, 2), (8, 0)])
def test_every_result_of_every_work_is_taken_once_and_each_works_own_are_in_order(threads, room):
    works, found = BundleThreads[tuple[int, int]](threads, room), []
    for number in range(20):
        works.begin(lambda number: ((number, each) for each in range(number)), number)
        found += works.completed()
    found += works.until(0)
    assert [pair for number in range(20) for pair in found if pair[0] == number] == sorted(found)
    assert sorted(found) == [(number, each) for number in range(20) for each in range(number)]


def test_no_more_works_are_at_work_than_there_are_threads_and_as_many_wait():
    gate, works = Gate(), BundleThreads[int](3)
    for number in range(5):
        works.begin(gate.through, number)
        assert list(works.completed()) == []  # nothing is there, and nothing is waited for
    threading.Timer(0.2, gate.open.set).start()
    works.begin(gate.through, 5)
    found = list(works.completed())  # with the sixth, one has to end first
    assert found
    found += works.until(0)
    assert (sorted(found), gate.most) == ([0, 1, 2, 3, 4, 5], 3)


def test_a_work_without_room_waits_until_its_results_are_taken():
    given, works = [], BundleThreads[int](1, room=2)
    works.begin(lambda: (given.append(each) or each for each in range(100)))
    results = works.until(0)
    for taken in range(90):
        assert next(results) == taken
        assert len(given) <= taken + 4  # the room, one in hand, and the one that was just taken
    assert list(results) == list(range(90, 100))


@pytest.mark.parametrize("error", [ValueError("a"), OSError("b"), KeyboardInterrupt()])
def test_what_a_work_raises_is_raised_where_its_results_are_taken(error):
    works = BundleThreads[int](2)
    works.begin(raising, error)
    with pytest.raises(type(error)) as caught:
        list(works.until(0))
    assert caught.value is error


def test_a_stopped_bundle_begins_nothing_more_and_no_thread_stays():
    before, gate, works = set(threading.enumerate()), Gate(), BundleThreads[int](2, room=1)
    for number in range(10):
        works.begin(gate.through, number)
    works.stop()
    gate.open.set()
    for thread in own_threads(before):
        thread.join(timeout=30)
    assert own_threads(before) == set()
    assert gate.most <= 2


def test_the_time_of_works_is_told_in_the_thread_that_takes_their_results():
    told = []
    works = BundleThreads[int](2, worked=lambda seconds: told.append((threading.current_thread(), seconds)))
    for number in range(4):
        works.begin(lambda number: [number], number)
    assert sorted(works.until(0)) == [0, 1, 2, 3]
    assert [thread for thread, _ in told] == [threading.current_thread()] * 4
    assert all(0 <= seconds < 30 for _, seconds in told)
