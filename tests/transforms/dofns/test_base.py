"""DoFns that work in threads, as a runner drives them: pickled, bundle by bundle, also behind one that failed."""

from __future__ import annotations

import pickle
import threading

import pytest
from apache_beam.utils.windowed_value import WindowedValue

from transforms.dofns.base import ThreadedDoFn
from transforms.dofns.figures import SAVE
from transforms.dofns.metrics import UNWATCHED
from transforms.work.store import WorkStore


def upper(word):
    if not word:
        raise ValueError("no word")
    yield word.upper()


class Upper(ThreadedDoFn[int, str, tuple[str, bool]]):
    """Gives words in capitals, each with whether it was counted in the thread that asked."""

    step = SAVE

    def threads(self):
        return self._config

    def process(self, word):
        self._threads.begin(upper, word)
        yield from self._completed()

    def counted(self, result):
        return result, threading.current_thread() is threading.main_thread()


@pytest.fixture
def step():
    dofn = pickle.loads(pickle.dumps(Upper(WorkStore("/nowhere", "asr", "saved"), 2, UNWATCHED)))
    dofn.setup()
    yield dofn
    dofn.teardown()


def bundle(dofn, words):
    dofn.start_bundle()
    given = [result for word in words for result in dofn.process(word)]
    for last in dofn.finish_bundle():
        assert isinstance(last, WindowedValue)
        given.append(last.value)
    return sorted(given)


@pytest.mark.parametrize("words", [[], ["a"], [*"abcdefghij"]])
def test_every_result_of_a_bundle_leaves_with_it_counted_in_its_own_thread(step, words):
    for _ in range(3):
        assert bundle(step, words) == [(word.upper(), True) for word in words]


def test_nothing_of_a_bundle_that_failed_comes_in_the_next(step):
    with pytest.raises(ValueError, match="no word"):
        bundle(step, ["a", "", "b", "c", "d"])
    assert bundle(step, ["x", "y"]) == [("X", True), ("Y", True)]
