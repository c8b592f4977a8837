from __future__ import annotations

import pytest

from beam_pipeline.run.outcome import cause
from transforms.engines.catalog import ModelError

TRACE = """Traceback (most recent call last):
  File "x.py", line 1, in f
    raise OSError("disk")
transforms.engines.handler.ModelError: cannot load the model x [while running 'A/B']
"""


JAVA_TRACE = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(Handler.java:180)
Caused by: java.lang.RuntimeException: WorkerError: this worker cannot run the job: there is no ffmpeg
\tat org.apache.beam.runners.fnexecution.environment.ExternalEnvironmentFactory.createEnvironment(Factory.java:97)
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModelError("cannot load the model x [while running 'A/B']"), "cannot load the model x"),
        (RuntimeError(TRACE), "cannot load the model x"),
        (RuntimeError(JAVA_TRACE), "this worker cannot run the job: there is no ffmpeg"),
        (
            RuntimeError("a.B: it broke\n\tat a.B.c(B.java:1)\nCaused by: a.C: a reason\n\t... 19 more"),
            "RuntimeError\na.B: it broke\nCaused by: a.C: a reason",
        ),
        (
            ZeroDivisionError("float division by zero [while running 'A']"),
            "ZeroDivisionError\nfloat division by zero",
        ),
    ],
)
def test_the_user_gets_the_cause_and_not_beams_stack(error, told):
    assert cause(error) == told
