"""Worker processes on this machine: they start wherever Python lies, and one that is gone is not waited for."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipeline.run.outcome import cause
from runners import processes
from runners.direct import command, direct_runner


def run(work) -> None:
    """Do one piece of work in a worker process."""
    options = PipelineOptions(["--direct_running_mode=multi_processing", "--direct_num_workers=1"])
    with beam.Pipeline(runner=direct_runner(options), options=options) as pipeline:
        _ = pipeline | beam.Create([0]) | beam.Map(work)


@pytest.mark.parametrize("program", ["/no/such/python", "false"])
def test_a_worker_that_cannot_start_is_told_and_not_waited_for(monkeypatch, program):
    monkeypatch.setattr(processes, "command", lambda *_: [program])
    began = time.monotonic()
    with pytest.raises(RuntimeError) as raised:
        run(str)
    code = 127 if "/" in program else 1
    assert cause(raised.value) == f"a worker process ended with exit code {code}; what it said stands above"
    assert time.monotonic() - began < 60


def test_a_worker_that_is_killed_at_its_work_is_told_and_not_waited_for():
    with pytest.raises(RuntimeError) as raised:
        run(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert cause(raised.value) == "a worker process was killed (Killed), perhaps for want of memory"


def test_a_shell_takes_any_path_of_python(monkeypatch):
    monkeypatch.setattr(sys, "executable", '/it\'s a/"path"/$HOME/python')
    assert shlex.split(command())[-4:] == [sys.executable, "-P", "-m", "apache_beam.runners.worker.sdk_worker_main"]
