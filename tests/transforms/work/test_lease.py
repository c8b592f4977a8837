"""One run holds the lease on an output: of many that try one gets it, and a dead one holds nobody up for long."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from transforms.work.lease import OccupiedError, acquire, check_lease, latest_lease, process_is_gone
from transforms.work.store import WorkStore

LEASE_S = 1.0


def work(folder, run):
    return WorkStore(str(folder), "asr", "saved", run=run)


def elsewhere(lease):
    """As if the holder were a process of another machine: only its heartbeats show that it lives."""
    lease.record["host"] = "another-host"
    lease.renew()
    return lease


def test_an_output_that_was_given_back_is_free_at_once(tmp_path):
    acquire(work(tmp_path, "a")).release()
    started = time.monotonic()
    lease = acquire(work(tmp_path, "b"))
    assert time.monotonic() - started < LEASE_S
    assert not lease.previous_expired
    assert latest_lease(lease.work)[1]["run"] == "b"


def test_an_owner_that_gave_its_output_back_beats_no_more_and_takes_it_from_nobody(tmp_path):
    lease = acquire(work(tmp_path, "a"))
    lease.release()
    given_back = latest_lease(lease.work)
    lease.renew(counts={"save.media": 1})
    assert latest_lease(lease.work) == given_back
    acquire(work(tmp_path, "b"))
    lease.renew()  # as of a thread that has not heard of the end yet
    assert latest_lease(lease.work)[1]["run"] == "b"


def test_news_from_several_threads_are_all_kept(tmp_path):
    lease = acquire(work(tmp_path, "a"))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: lease.renew(counts={"n": 1}, **({"job": {}} if number == 3 else {})), range(24)))
    assert (lease.record["beat"], lease.record["job"]) == (24, {})
    assert latest_lease(lease.work)[1] == lease.record


def test_an_owner_that_lives_keeps_others_away_with_a_message(tmp_path):
    lease, stop = elsewhere(acquire(work(tmp_path, "a"))), threading.Event()

    def live():
        while not stop.wait(LEASE_S / 10):
            lease.renew()

    beating = threading.Thread(target=live)
    beating.start()
    try:
        with pytest.raises(OccupiedError, match=r"another run \(a, process \d+ on another-host\) is writing to"):
            acquire(work(tmp_path, "b"), LEASE_S)
    finally:
        stop.set()
        beating.join()
    check_lease(lease.work)


def test_an_owner_without_a_sign_of_life_is_dead_after_the_lease(tmp_path):
    lost = elsewhere(acquire(work(tmp_path, "a")))
    started = time.monotonic()
    lease = acquire(work(tmp_path, "b"), LEASE_S)
    assert LEASE_S <= time.monotonic() - started < 3 * LEASE_S
    assert lease.previous_expired
    with pytest.raises(OccupiedError, match=r"another run \(b, .* took over .*; nothing of this run is lost"):
        lost.renew()
    with pytest.raises(OccupiedError):
        check_lease(lost.work)


def test_an_owner_of_this_machine_whose_process_is_gone_is_dead_at_once(tmp_path):
    code = f"from tests.transforms.work.test_lease import *; acquire(work({str(tmp_path)!r}, 'a'))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert process_is_gone(latest_lease(work(tmp_path, "b"))[1])
    started = time.monotonic()
    assert acquire(work(tmp_path, "b"), 60).previous_expired
    assert time.monotonic() - started < 5


def test_an_owner_that_was_killed_and_not_yet_reaped_is_dead_and_one_of_the_same_number_is_another(tmp_path):
    claimed = f"acquire(work({str(tmp_path)!r}, 'a')); print(flush=True); input()"
    code = f"from tests.transforms.work.test_lease import *; {claimed}"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        record = latest_lease(work(tmp_path, "b"))[1]
        assert not process_is_gone(record)
        assert process_is_gone({**record, "born_s": record["born_s"] - 60})
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert process_is_gone(record)


def test_an_owner_whose_record_does_not_say_when_it_began_is_waited_for(tmp_path):
    lease = acquire(work(tmp_path, "a"))
    assert not process_is_gone(
        {name: value for name, value in lease.record.items() if name != "born_s"} | {"pid": 2**22 + 1}
    )


def test_a_process_of_another_container_is_not_looked_for_among_ours(tmp_path):
    lease = acquire(work(tmp_path, "a"))
    other = {**lease.record, "pid": 2**22 + 1}
    assert process_is_gone(other)
    assert not process_is_gone({**other, "machine": "the same boot, other processes"})


def test_of_many_who_find_a_dead_owner_one_takes_its_place(tmp_path):
    elsewhere(acquire(work(tmp_path, "dead")))

    def attempt(run):
        try:
            return acquire(work(tmp_path, run), LEASE_S)
        except OccupiedError:
            return None

    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(attempt, f"run{number}") for number in range(6)]
        until = time.monotonic() + 20 * LEASE_S
        while not all(each.done() for each in waiting) and time.monotonic() < until:
            for each in waiting:
                if each.done() and each.result():
                    each.result().renew()
            time.sleep(LEASE_S / 20)  # between two heartbeats of whoever got it
    assert sum(each.result() is not None for each in waiting) == 1


def test_a_record_that_a_power_cut_left_empty_blocks_nobody(tmp_path):
    lease = acquire(work(tmp_path, "a"))
    (tmp_path / "_work/owner" / f"{lease.number}.json").write_bytes(b"")
    assert acquire(work(tmp_path, "b"), LEASE_S).number == lease.number + 1
