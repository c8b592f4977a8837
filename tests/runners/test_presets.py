"""What each runner is told: flags that Beam knows, and the user's own in front of them."""

from __future__ import annotations

import json

import pytest
from apache_beam.options.pipeline_options import (
    DebugOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
)

from beam_pipeline.beam_flags import parser as beam_parser
from runners.presets import DataflowPlace, FlinkPlace, Job, dataflow, direct, flink, merged

JOB = Job("a-job")
CLUSTER = FlinkPlace("/a.jar", "1.19", "host:8081", 6, "localhost:50000", {"apache-beam": "2.77.0"})
PRESETS = {
    "direct": direct(JOB),
    "embedded": flink(JOB, FlinkPlace("/a.jar", "1.19")),
    "flink": flink(JOB, CLUSTER),
    "streaming": flink(JOB._replace(streaming=True), CLUSTER),
    "dataflow": dataflow(JOB, DataflowPlace("n2-standard-4", 100, "gs://a-bucket/tmp", {"app": "a"})),
}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_beam_knows_every_flag(preset):
    assert beam_parser().parse_known_args(preset)[1] == []
    assert PipelineOptions(preset).view_as(GoogleCloudOptions).job_name == "a-job"


def test_embedded_flink_has_its_workers_here_and_a_cluster_has_them_beside_its_machines():
    here = PipelineOptions(PRESETS["embedded"])
    assert here.view_as(PortableOptions).environment_type == "LOOPBACK"
    assert here.view_as(FlinkRunnerOptions).flink_master == "[local]"
    there = PipelineOptions(PRESETS["flink"])
    assert there.view_as(PortableOptions).environment_type == "EXTERNAL"
    workers = json.loads(there.view_as(PortableOptions).environment_config)
    assert workers == {"url": "localhost:50000", "params": {"apache-beam": "2.77.0"}}
    assert there.view_as(FlinkRunnerOptions).parallelism == 6


def test_only_a_streaming_job_has_checkpoints():
    assert [each for each in PRESETS["streaming"] if each not in PRESETS["flink"]] == [
        "--checkpointing_interval=60000",
        "--max_bundle_size=2",
        "--shutdown_sources_after_idle_ms=0",
    ]


def test_a_machine_of_dataflow_loads_one_model():
    options = PipelineOptions(PRESETS["dataflow"])
    assert options.view_as(DebugOptions).experiments == ["no_use_multiple_sdk_containers"]


def test_labels_and_experiments_of_the_user_are_added_but_a_contrary_one_wins():
    given = ["--labels=airflow-version=3", "--experiments=use_multiple_sdk_containers"]
    options = PipelineOptions(merged(PRESETS["dataflow"], given))
    assert options.view_as(GoogleCloudOptions).labels == ["app=a", "airflow-version=3"]
    assert options.view_as(DebugOptions).experiments == ["use_multiple_sdk_containers"]


@pytest.mark.parametrize("given", [["--parallelism=2"], ["--parallelism", "2"]])
def test_the_users_own_flags_win(given):
    flags = merged(["--parallelism=6", "--job_name=a"], given)
    assert flags == ["--job_name=a", *given]
    assert PipelineOptions(flags).view_as(FlinkRunnerOptions).parallelism == 2
