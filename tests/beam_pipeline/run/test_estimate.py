"""How much audio is left, by a few of the media, and what it would take on Dataflow."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from beam_pipeline.run.estimate import SAMPLES as LOOKED_INTO
from beam_pipeline.run.estimate import START_H, Extent, estimate, foresee
from runners.dataflow.machines import CPU_MACHINE, DEFAULT_GPU, GPUS, PRICES_OF
from tests.conftest import ROOT, SAMPLES, TRUTH, media_of
from transforms.engines import devices
from transforms.engines.catalog import DEMO_FOLDER, describe
from transforms.media.chunks import ChunkConfig

L4 = GPUS["l4"]
L4_USD = 8 * 0.056 + 32 * 0.003557 + 100 * 0.000054 + 0.67  # an hour


def test_the_hours_of_media_of_many_kinds_are_found_by_looking_into_all_of_a_few():
    extent = Extent()
    known = [path for path in sorted(SAMPLES.iterdir()) if path.suffix not in (".json", ".md")]
    for path in known:
        extent.add(media_of(path))
    hours, looked = extent.hours(ChunkConfig())
    assert looked == len(known) == len(TRUTH)
    assert hours * 3600 == pytest.approx(421, rel=0.02)  # what a run says of them; containers round


def test_many_media_of_a_kind_are_counted_by_a_few(tmp_path):
    extent = Extent()
    for number in range(40):
        shutil.copy(SAMPLES / ("village.opus" if number % 2 else "five minutes.opus"), tmp_path / f"{number}.opus")
        extent.add(media_of(tmp_path / f"{number}.opus"))
    hours, looked = extent.hours(ChunkConfig())
    assert looked == LOOKED_INTO
    truth = 20 * (seconds("village.opus") + seconds("five minutes.opus")) / 3600
    assert hours == pytest.approx(truth, rel=0.2)


def seconds(name):
    extent = Extent()
    extent.add(media_of(SAMPLES / name))
    return extent.hours(ChunkConfig())[0] * 3600


def test_workers_share_the_hours_and_each_has_to_start():
    took = estimate(1000, parts=2000, most_workers=4, tasks=1, gpu=L4)
    assert took.workers == 4
    assert took.hours == pytest.approx(START_H + 1000 / 20 / 4)
    assert took.worker_hours == pytest.approx(4 * took.hours)
    assert took.usd == pytest.approx(took.worker_hours * L4_USD)


def test_no_more_workers_start_than_there_are_parts():
    assert estimate(1, parts=2, most_workers=100, tasks=1, gpu=L4).workers == 2


def test_translation_by_the_model_is_work_a_second_time():
    one, two = (estimate(100, 1000, 1, tasks, L4).hours - START_H for tasks in (1, 2))
    assert two == pytest.approx(2 * one)


def test_the_default_gpu_is_the_cheapest_by_what_is_assumed():
    usd = {name: estimate(10_000, 20_000, 1, 1, gpu).usd for name, gpu in GPUS.items()}
    assert min(usd, key=usd.__getitem__) == DEFAULT_GPU
    assert estimate(10_000, 20_000, 1, 1, None).usd > max(usd.values())


def test_the_table_of_the_docs_is_of_these_machines(monkeypatch, tmp_path):
    large = {"d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "num_mel_bins": 128, "vocab_size": 51866}
    (tmp_path / "config.json").write_text(json.dumps(json.loads((DEMO_FOLDER / "config.json").read_text()) | large))
    page = (ROOT / "docs" / "dataflow.md").read_text()
    for name, gpu in GPUS.items():
        free = (gpu.memory_gb - 1) * 2**30  # the driver and CUDA take about 1 GB
        monkeypatch.setattr(devices, "free_memory", lambda _, free=free: free)
        batch = devices.choose_batch_size(describe(str(tmp_path)), "", "cuda:0", "bfloat16")
        usd = gpu.usd_per_hour + gpu.machine.usd_per_hour
        has = f"| `{name}` | {gpu.machine.type} | {gpu.memory_gb} GB | {batch} |"
        assert f"{has} {gpu.speed:g} x | {usd:.2f} | {usd * 1000 / gpu.speed:.0f} |" in page
    assert PRICES_OF in page


def test_the_words_say_what_is_assumed():
    extent = Extent()
    extent.add(media_of(SAMPLES / "five minutes.opus"))
    text = foresee(extent, ChunkConfig(), 4, 2, L4).words()
    assert text.startswith(
        "estimate: 0.1 h of audio (1 of 1 media were looked into)\n  1 workers of g2-standard-8 with nvidia-l4: "
    )
    assert "assumed, not measured: 20 x real time a worker with Whisper large-v3, for each of 2 tasks" in text
    assert "list prices of us-central1 of 20" in text
    assert CPU_MACHINE.type in foresee(extent, ChunkConfig(), 4, 1, None).words().splitlines()[1]


def test_the_figures_are_those_of_the_words():
    extent = Extent()
    extent.add(media_of(SAMPLES / "five minutes.opus"))
    hours = extent.hours(ChunkConfig())[0]
    took = estimate(hours, 1, 4, 1, L4)
    assert foresee(extent, ChunkConfig(), 4, 1, L4).figures() == {
        "media": 1, "looked_into": 1, "machine": "g2-standard-8", "gpu": "nvidia-l4",
        "audio_hours": round(hours, 3), "workers": 1, "hours": round(took.hours, 3),
        "worker_hours": round(took.hours, 3), "usd": round(took.usd, 2),
    }  # fmt: skip
    alone = foresee(extent, ChunkConfig(), 4, 1, None).figures()
    assert (alone["machine"], alone["gpu"]) == (CPU_MACHINE.type, None)


def test_nothing_left_and_nothing_known_are_told_apart(tmp_path):
    none = foresee(Extent(), ChunkConfig(), 4, 1, L4)
    assert none.words() == "estimate: nothing is left to do"
    (tmp_path / "noise.mp3").write_bytes(bytes(range(256)) * 8)
    extent = Extent()
    extent.add(media_of(tmp_path / "noise.mp3"))
    unknown = foresee(extent, dataclasses.replace(ChunkConfig(), chunk_minutes=0), 4, 1, L4)
    assert unknown.words() == "estimate: no recording says how long it is"
    nothing = {"looked_into": 0, "audio_hours": None, "workers": None, "hours": None, "usd": None}
    for outlook, media in ((none, 0), (unknown, 1)):
        assert outlook.figures().items() >= {"media": media, **nothing}.items()
