from __future__ import annotations

import time

from beam_pipeline.progress import Progress
from transforms.progress import Ticker


def counted(progress, name, value):
    """Wait until the display has counted so much: datagrams arrive when they arrive."""
    until = time.monotonic() + 10
    while progress.counts[name] < value and time.monotonic() < until:
        time.sleep(0.01)
    return progress.counts[name]


def test_counts_of_all_steps_add_up_in_the_display():
    with Progress() as progress:
        one, other = Ticker(progress.address), Ticker(progress.address)
        for _ in range(50):
            one.tick(planned=1)
            other.tick(done=0.5, audio_s=3.6, failed=0)
        assert counted(progress, "planned", 50) == 50
        assert counted(progress, "done", 25) == 25
        assert "25 of 50 media, 0.05 h audio" in progress.line()
        assert "left" in progress.line()
        one.tick(failed=2)
        counted(progress, "failed", 2)
        assert "2 failed" in progress.line()


def test_datagrams_of_strangers_do_no_harm():
    with Progress() as progress:
        stranger = Ticker(progress.address)
        stranger._socket.sendto(b"\xff\x00", stranger._to)
        stranger.tick(done=1)
        assert counted(progress, "done", 1) == 1


def test_a_step_without_a_display_stays_silent():
    ticker = Ticker("")
    ticker.tick(done=1)
    assert ticker._socket is None
