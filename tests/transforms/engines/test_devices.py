from __future__ import annotations

import json
import tempfile

import pytest
import torch

from tests.conftest import claim_in_another_process
from transforms.engines import devices
from transforms.engines.catalog import DEMO_FOLDER, describe
from transforms.engines.placement import Placement


def place(device="auto", dtype="auto", batch_size=0, claim=True):
    devices.place.cache_clear()
    return devices.place(describe("demo"), "", device, dtype, batch_size, claim)


def test_without_a_gpu_the_model_runs_on_the_cpu_in_float32():
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("NOT TESTED: this machine has a GPU")
    assert place() == Placement("cpu", "float32", 8)


def test_what_the_user_gives_wins():
    assert place("cpu", "bfloat16", 3) == Placement("cpu", "bfloat16", 3)


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "mps:x"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match="finds none here"):
        place(device)


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """torch as it answers on a host with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (16 * 2**30, 16 * 2**30))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))


def test_only_a_worker_claims_a_gpu_and_keeps_it(two_gpus, tmp_path):
    assert place(claim=False) == Placement("cuda", "bfloat16", 64)
    assert list(tmp_path.iterdir()) == []
    assert place().device == "cuda:0"
    assert devices.place(describe("demo"), "", "auto", "auto", 0, True).device == "cuda:0"  # asked again
    assert claim_in_another_process_once(tmp_path) == "1"


def claim_in_another_process_once(folder):
    process = claim_in_another_process(folder)
    return process.communicate("")[0].strip()


def test_a_gpu_that_only_emulates_bfloat16_gets_float16(two_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))  # T4
    assert place(claim=False).dtype == "float16"


LARGE_V3 = {"d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "num_mel_bins": 128, "vocab_size": 51866}


@pytest.mark.parametrize(
    ("size", "device", "free_gib", "expected"),
    [
        ({}, "cuda:0", 16, 64),
        ({}, "cuda:0", 0.1, 12),
        ({}, "cuda:0", 0.0001, 1),
        (LARGE_V3, "cuda:0", 78, 64),
        (LARGE_V3, "cuda:0", 15, 12),
        (LARGE_V3, "cuda:0", 4, 1),
        (LARGE_V3, "cpu", 16, 5),
        ({}, "cpu", 16, 8),
    ],
)
def test_the_batch_fits_the_free_memory(monkeypatch, tmp_path, size, device, free_gib, expected):
    config = {**json.loads((DEMO_FOLDER / "config.json").read_text()), **size}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(devices, "free_memory", lambda device: int(free_gib * 2**30))
    dtype = "float32" if device == "cpu" else "bfloat16"
    assert devices.choose_batch_size(describe(str(tmp_path)), "", device, dtype) == expected
