from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from transforms.models import devices
from transforms.models.catalog import DEMO_FOLDER


def claim_in_another_process(folder):
    """A process that claims a GPU, prints which, and holds it until its input ends."""
    code = (
        "import pathlib, sys\nfrom transforms.models.devices import claim_gpu\n"
        f"print(claim_gpu(2, pathlib.Path({str(folder)!r})), flush=True)\nsys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True, env=environment)


def test_each_process_claims_a_gpu_of_its_own_and_lets_go_when_it_dies(tmp_path):
    first, second = claim_in_another_process(tmp_path), None
    try:
        assert first.stdout.readline().strip() == "0"
        second = claim_in_another_process(tmp_path)
        assert second.stdout.readline().strip() == "1"
        assert devices.claim_gpu(2, tmp_path) == os.getpid() % 2  # none is free: shared
        first.kill()
        first.wait()
        assert devices.claim_gpu(2, tmp_path) == 0
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            process.communicate()


def test_without_a_gpu_the_model_runs_on_the_cpu_in_float32():
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has a GPU")
    assert devices.place(str(DEMO_FOLDER), "auto", "auto", 0) == devices.Placement("cpu", "float32", 8)


def test_what_the_user_gives_wins():
    assert devices.place(str(DEMO_FOLDER), "cpu", "bfloat16", 3) == devices.Placement("cpu", "bfloat16", 3)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "mps:x"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match="finds none here"):
        devices.place(str(DEMO_FOLDER), device, "auto", 0)


@pytest.mark.parametrize(("free_gib", "expected"), [(0.5, 64), (0.1, 14), (0.0001, 1)])
def test_the_batch_fills_the_free_memory_of_a_gpu(monkeypatch, free_gib, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free_gib * 2**30), 80 * 2**30))
    assert devices.choose_batch_size(str(DEMO_FOLDER), "cuda:0", "bfloat16") == expected
