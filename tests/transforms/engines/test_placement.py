from __future__ import annotations

import os

import pytest

from tests.conftest import claim_in_another_process
from transforms.engines.placement import claim_gpu, usable_cpus


@pytest.mark.long(13)
def test_each_process_claims_a_gpu_of_its_own_and_lets_go_when_it_dies(tmp_path):
    first, second = claim_in_another_process(tmp_path), None
    try:
        assert first.stdout.readline().strip() == "0"
        second = claim_in_another_process(tmp_path)
        assert second.stdout.readline().strip() == "1"
        assert claim_gpu(2, tmp_path) == os.getpid() % 2  # none is free: shared
        first.kill()
        first.wait()
        assert claim_gpu(2, tmp_path) == 0
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("said", "most"), [("50000 100000", 1), ("150000 100000", 1), ("max 100000", 10**6)])
def test_a_containers_quota_bounds_the_threads(tmp_path, said, most):
    (tmp_path / "cpu.max").write_text(f"{said}\n")
    allowed = len(os.sched_getaffinity(0))
    assert usable_cpus(tmp_path / "cpu.max") == max(1, min(allowed, most))
    assert usable_cpus(tmp_path / "nothere") == allowed
