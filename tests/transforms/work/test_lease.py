"""One run owns an output: of many that want it one gets it, and a dead one holds nobody up for long."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from transforms.work.layers import Layers
from transforms.work.lease import OccupiedError, check_owner, claim, is_gone, latest

LEASE_S = 1.0


def layers(folder, run):
    return Layers(str(folder), "asr", "saved", run=run)


def elsewhere(owner):
    """As if the owner were a process of another machine: nothing but its beats tells that it lives."""
    owner.record["host"] = "another-host"
    owner.beat()
    return owner


def test_an_output_that_was_given_back_is_free_at_once(tmp_path):
    claim(layers(tmp_path, "a")).release()
    started = time.monotonic()
    owner = claim(layers(tmp_path, "b"))
    assert time.monotonic() - started < LEASE_S
    assert not owner.found_dead
    assert latest(owner.layers)[1]["run"] == "b"


def test_an_owner_that_gave_its_output_back_beats_no_more_and_takes_it_from_nobody(tmp_path):
    owner = claim(layers(tmp_path, "a"))
    owner.release()
    given_back = latest(owner.layers)
    owner.beat(counts={"save.media": 1})
    assert latest(owner.layers) == given_back
    claim(layers(tmp_path, "b"))
    owner.beat()  # as of a thread that has not heard of the end yet
    assert latest(owner.layers)[1]["run"] == "b"


def test_news_from_several_threads_are_all_kept(tmp_path):
    owner = claim(layers(tmp_path, "a"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: owner.beat(counts={"n": 1}, **({"job": {}} if number == 3 else {})), range(24)))
    assert (owner.record["beat"], owner.record["job"]) == (24, {})
    assert latest(owner.layers)[1] == owner.record


def test_an_owner_that_lives_keeps_others_away_with_a_message(tmp_path):
    owner, stop = elsewhere(claim(layers(tmp_path, "a"))), threading.Event()

    def live():
        while not stop.wait(LEASE_S / 10):
            owner.beat()

    beating = threading.Thread(target=live)
    beating.start()
    try:
        with pytest.raises(OccupiedError, match=r"another run \(a, process \d+ on another-host\) is writing to"):
            claim(layers(tmp_path, "b"), LEASE_S)
    finally:
        stop.set()
        beating.join()
    check_owner(owner.layers)


def test_an_owner_without_a_sign_of_life_is_dead_after_the_lease(tmp_path):
    lost = elsewhere(claim(layers(tmp_path, "a")))
    started = time.monotonic()
    owner = claim(layers(tmp_path, "b"), LEASE_S)
    assert LEASE_S <= time.monotonic() - started < 3 * LEASE_S
    assert owner.found_dead
    with pytest.raises(OccupiedError, match=r"another run \(b, .* took over .*; nothing of this run is lost"):
        lost.beat()
    with pytest.raises(OccupiedError):
        check_owner(lost.layers)


def test_an_owner_of_this_machine_whose_process_is_gone_is_dead_at_once(tmp_path):
    code = f"from tests.transforms.work.test_lease import *; claim(layers({str(tmp_path)!r}, 'a'))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert is_gone(latest(layers(tmp_path, "b"))[1])
    started = time.monotonic()
    assert claim(layers(tmp_path, "b"), 60).found_dead
    assert time.monotonic() - started < 5


def test_an_owner_that_was_killed_and_not_yet_reaped_is_dead_and_one_of_the_same_number_is_another(tmp_path):
    claimed = f"claim(layers({str(tmp_path)!r}, 'a')); print(flush=True); input()"
    code = f"from tests.transforms.work.test_lease import *; {claimed}"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        record = latest(layers(tmp_path, "b"))[1]
        assert not is_gone(record)
        assert is_gone({**record, "born_s": record["born_s"] - 60})
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert is_gone(record)


def test_an_owner_whose_record_does_not_say_when_it_began_is_waited_for(tmp_path):
    owner = claim(layers(tmp_path, "a"))
    assert not is_gone({name: value for name, value in owner.record.items() if name != "born_s"} | {"pid": 2**22 + 1})


def test_a_process_of_another_container_is_not_looked_for_among_ours(tmp_path):
    owner = claim(layers(tmp_path, "a"))
    other = {**owner.record, "pid": 2**22 + 1}
    assert is_gone(other)
    assert not is_gone({**other, "machine": "the same boot, other processes"})


def test_of_many_who_find_a_dead_owner_one_takes_its_place(tmp_path):
    elsewhere(claim(layers(tmp_path, "dead")))

    def attempt(run):
        try:
            return claim(layers(tmp_path, run), LEASE_S)
        except OccupiedError:
            return None

    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(attempt, f"run{number}") for number in range(6)]
        until = time.monotonic() + 20 * LEASE_S
        while not all(each.done() for each in waiting) and time.monotonic() < until:
            for each in waiting:
                if each.done() and each.result():
                    each.result().beat()
            time.sleep(LEASE_S / 20)  # between two beats of whoever got it
    assert sum(each.result() is not None for each in waiting) == 1


def test_a_record_that_a_power_cut_left_empty_blocks_nobody(tmp_path):
    owner = claim(layers(tmp_path, "a"))
    (tmp_path / "_work/owner" / f"{owner.number}.json").write_bytes(b"")
    assert claim(layers(tmp_path, "b"), LEASE_S).number == owner.number + 1
