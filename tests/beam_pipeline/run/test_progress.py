from __future__ import annotations

import time
import urllib.request

import pytest

from beam_pipeline.run.progress import Progress
from tests.servers import free_port
from transforms.dofns.figures import PLAN, SAVE, TRANSCRIBE
from transforms.dofns.metrics import Datagrams, StepMetrics, Watch

HARMLESS = [
    b"\xff\x00",
    b"",
    b"5",
    b"null",
    b"[1]",
    b'"save.media"',
    b"NaN",
    b"{",
    b"[" * 60_000,
    b"[" * 900 + b"]" * 900,
    b'{"save.media": "1"}',
    b'{"save.media": null}',
    b'{"save.media": 1.5}',
    b'{"save.media": NaN}',
    b'{"save.media": true}',
    b'{"save.media": -1}',
    b'{"save.media": 1' + b"0" * 400 + b"}",
    b'{"save.media": [1]}',
    b'{"unknown": 1}',
    b'{"save.": 1}',
]


def counted(progress, name, value):
    """Wait until the display has counted so much: datagrams arrive when they arrive."""
    until = time.monotonic() + 10
    while progress.counts[name] < value and time.monotonic() < until:
        time.sleep(0.01)
    return progress.counts[name]


def test_counts_of_all_steps_add_up_in_the_display():
    with Progress() as progress:
        watch = Watch(display=progress.address)
        plan, save = StepMetrics(PLAN, watch), StepMetrics(SAVE, watch)
        for number in range(50):
            plan.count(media=1)
            save.count(media=number % 2, audio_ms=3600, dead=0)
        assert counted(progress, "plan.media", 50) == 50
        assert counted(progress, "save.media", 25) == 25
        assert counted(progress, "save.audio_ms", 180_000) == 180_000
        assert "25 of 50 media, 0.05 h audio" in progress.line()
        assert "left" in progress.line()
        save.count(dead=2)
        counted(progress, "save.dead", 2)
        assert "27 of 50 media" in progress.line()
        assert "2 failed" in progress.line()


def test_datagrams_of_strangers_do_no_harm():
    with Progress() as progress:
        stranger = Datagrams(progress.address)
        for datagram in HARMLESS:
            stranger._socket.sendto(datagram, stranger._to)
            stranger.send({"save.media": 1})
        assert counted(progress, "save.media", len(HARMLESS)) == len(HARMLESS)
        assert set(progress.counts) == {"save.media"}


def test_what_the_display_knows_is_served_to_prometheus_while_it_lives():
    port = free_port()
    with Progress(port) as progress:
        StepMetrics(TRANSCRIBE, Watch(display=progress.address)).count(windows=3, work_ms=1500)
        counted(progress, "transcribe.work_ms", 1500)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            told = answer.read().decode().splitlines()
        assert 'beam_pipeline_windows_total{step="transcribe"} 3.0' in told
        assert 'beam_pipeline_work_seconds_total{step="transcribe"} 1.5' in told
        assert 'beam_pipeline_media_total{step="save"} 0.0' in told
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2)
