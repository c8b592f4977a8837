"""Dataflow without Google: what would be submitted, what a stand-in for the service makes of it, and what is refused.

The graph is what Beam builds for Dataflow; the submitted one is run by tests/dataflow.py from where it was staged.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time

import apache_beam as beam
import pytest
from apache_beam.pipeline import PipelineVisitor
from apache_beam.portability.api import beam_runner_api_pb2

from beam_pipeline import status
from beam_pipeline.parser import parse
from beam_pipeline.pipeline import build
from beam_pipeline.run.job import make_job
from beam_pipeline.run.submit import submit
from beam_pipeline.run.target import RunnerError, find_target
from runners import versions
from runners.dataflow.machines import GPUS
from tests.conftest import ROOT, SAMPLES
from tests.gcs import new_bucket
from tests.runs import counters, table
from transforms.records import SpeechWindow, WindowResult
from transforms.storage import Stores

pytestmark = pytest.mark.long(110)

pytest.importorskip(
    "google.cloud.dataflow_v1beta3", reason="NOT TESTED: no packages of Google's: pip install '.[dataflow]'"
)

PLACES = ["--input=gs://a-bucket/media", "--output=gs://a-bucket/out"]
IMAGE = f"us-docker.pkg.dev/a-project/repo/{versions.image_tag(versions.versions(), 'gpu')}"
NEEDED = ["--runner=DataflowRunner", "--project=a-project", "--region=us-central1", f"--sdk_container_image={IMAGE}"]
MODEL_STAGE = re.compile("^(DecodeAudio|TranscribeSpeech|TranslateText|SaveMedia)/")


def target_of(*words):
    flags, rest = parse([*PLACES, *NEEDED, "--no_auth", "--model=openai/whisper-large-v3", *words])
    job = make_job(flags)
    return job, find_target(flags, rest, job.work.run)


def submitted(*words):
    """Beam's job for the service, graph and all, made without a network."""
    job, target = target_of(*words)
    return submit(dataclasses.replace(target, flags=[*target.flags, "--dry_run=True"]), job).job


def leaves(graph):
    """Every transform that runs, by its label."""
    return {each.unique_name: each for each in graph.components.transforms.values() if not each.subtransforms}


def hints(graph, transform):
    found = graph.components.environments[transform.environment_id].resource_hints
    return {urn.split(":")[2]: value.decode() for urn, value in found.items()}


def test_the_whole_stage_around_the_model_is_in_one_environment_with_the_gpu_and_nothing_else_is():
    graph = submitted("--dataflow_gpu=a100").proto_pipeline
    found = {label: each.environment_id for label, each in leaves(graph).items() if each.environment_id}
    with_gpu = {label for label in found if hints(graph, leaves(graph)[label])}
    assert len({found[label] for label in with_gpu}) == 1
    assert hints(graph, leaves(graph)["TranscribeSpeech/RunInference/BeamML_RunInference"]) == {
        "accelerator": "type:nvidia-tesla-a100;count:1;machine_type:a2-highgpu-1g;install-nvidia-driver:5xx",
        "min_ram_bytes": "16000000000",
        "max_active_bundles_per_worker": "2",
    }
    assert {label for label in found if MODEL_STAGE.match(label)} < with_gpu
    beside = {label for label in with_gpu if not MODEL_STAGE.match(label)}
    # what reads the shuffle before, and what writes the one behind
    assert beside == {
        "PlanWork/SpreadChunks/ReshufflePerKey/FlatMap(restore_metadata_default_window)",
        "PlanWork/SpreadChunks/RemoveRandomKeys",
        "WriteDataset/KeyByShard",
    }
    assert len(set(found.values())) == 2


def test_every_border_between_environments_is_a_shuffle():
    graph = submitted().proto_pipeline
    made_by = {pcoll: each for each in leaves(graph).values() for pcoll in each.outputs.values()}
    for each in leaves(graph).values():
        for pcoll in each.inputs.values():
            before = made_by[pcoll]
            assert not (before.environment_id and each.environment_id) or before.environment_id == each.environment_id


def test_no_audio_crosses_a_shuffle():
    class Shuffled(PipelineVisitor):
        def __init__(self):
            self.types = {}

        def visit_transform(self, node):
            if isinstance(node.transform, beam.GroupByKey):
                self.types[node.full_label] = str(node.inputs[0].element_type)

    flags, _ = parse([*PLACES, "--model=demo"])
    pipeline = beam.Pipeline("FnApiRunner")
    build(pipeline, make_job(flags))
    shuffled = Shuffled()
    pipeline.visit(shuffled)
    assert len(shuffled.types) == 6
    audio = (SpeechWindow.__name__, WindowResult.__name__)
    assert not [label for label, kind in shuffled.types.items() if any(name in kind for name in audio)]
    assert "MediaChunk" in shuffled.types["PlanWork/SpreadChunks/ReshufflePerKey/GroupByKey"]
    assert "MediaOutcome" in shuffled.types["WriteDataset/Shards"]


def test_labels_are_stable_and_coders_known():
    one, other = submitted().proto_pipeline, submitted().proto_pipeline
    assert set(leaves(one)) == set(leaves(other))
    assert not [label for label in leaves(one) if "lambda" in label or re.search(r"\.py|:\d", label)]
    urns = {coder.spec.urn for coder in one.components.coders.values()}
    known = "bytes global_window iterable kv nullable pickled_python string_utf8 tuple varint"
    assert urns == {f"beam:coder:{name}:v1" for name in known.split()}


def test_every_environment_has_the_image():
    graph = submitted().proto_pipeline
    for each in graph.components.environments.values():
        assert each.urn == "beam:env:docker:v1"
        assert beam_runner_api_pb2.DockerPayload.FromString(each.payload).container_image == IMAGE


def pool(*words):
    """The worker pool, and the environment that it stands in, as the service would be told."""
    from apache_beam.runners.dataflow.internal import apiclient

    job = submitted(*words)
    environment = apiclient.Environment([], job.options, "2", "gs://a-bucket/pipeline.pb", job.proto_pipeline).proto
    return environment.worker_pools[0], environment, job


def test_the_worker_pool_is_as_the_preset_says():
    workers, environment, job = pool()
    assert workers.machine_type == "n2-standard-4"
    assert workers.num_threads_per_worker == 4
    assert workers.disk_size_gb == 100
    assert workers.autoscaling_settings.max_num_workers == 4
    assert {each.container_image for each in workers.sdk_harness_container_images} == {IMAGE}
    assert len(workers.sdk_harness_container_images) == 2
    assert "no_use_multiple_sdk_containers" in environment.experiments
    assert not [each for each in environment.service_options if "accelerator" in each]
    assert dict(job.proto.labels) == {"app": "beam-pipeline", "gpu": "l4", "model": "openai-whisper-large-v3"}


def test_flags_of_the_user_reach_the_pool():
    workers, environment, _ = pool(
        "--max_num_workers=50", "--machine_type=e2-standard-8", "--no_use_public_ips",
        "--subnetwork=regions/us-central1/subnetworks/private", "--service_account_email=worker@a-project",
    )  # fmt: skip
    assert (workers.machine_type, workers.autoscaling_settings.max_num_workers) == ("e2-standard-8", 50)
    assert workers.subnetwork == "regions/us-central1/subnetworks/private"
    assert workers.ip_configuration.name == "WORKER_IP_PRIVATE"
    assert environment.service_account_email == "worker@a-project"


def test_without_a_gpu_there_is_one_environment_and_flexrs_is_allowed():
    workers, environment, job = pool("--dataflow_gpu=none", "--flexrs_goal=COST_OPTIMIZED")
    assert len(workers.sdk_harness_container_images) == 1
    assert not hints(job.proto_pipeline, leaves(job.proto_pipeline)["SaveMedia/Save"])
    assert environment.flex_resource_scheduling_goal.name == "FLEXRS_COST_OPTIMIZED"


@pytest.mark.parametrize("gpu", GPUS)
def test_each_gpu_names_its_machine(gpu):
    graph = submitted(f"--dataflow_gpu={gpu}").proto_pipeline
    printed = hints(graph, leaves(graph)["SaveMedia/Save"])["accelerator"]
    assert f"type:{GPUS[gpu].accelerator};count:1;machine_type:{GPUS[gpu].machine.type};" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--project="], "--project is missing"),
        (["--region="], "--region is missing"),
        (["--region=europe-west1", "--dataflow_gpu=a100"], "europe-west1 has no A100: take one of asia-northeast1 "),
        (["--input=examples/media"], "examples/media is on this machine"),
        (["--output=/tmp/out"], "/tmp/out is on this machine"),
        (["--output=gs://ab/out"], "--output gs://ab/out: that is no gs://BUCKET/FOLDER"),
        (["--output=s3://a-bucket/out"], "--temp_location is missing"),
        (["--temp_location=/tmp"], "--temp_location /tmp: that is no gs://BUCKET/FOLDER"),
        (["--flexrs_goal=COST_OPTIMIZED"], "FlexRS has no GPUs"),
        (["--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1"], "does not do both"),
        (["--streaming"], "media are a batch"),
        (["--sdk_container_image="], "--sdk_container_image is missing"),
        (["--sdk_container_image=apache/beam_python3.11_sdk:2.77.0"], "without this package"),
        (["--sdk_container_image=x/y:0.0.1-beam2.70.0-py3.9"], "apache-beam 2.70.0 instead of "),
        ([f"--sdk_container_image={IMAGE.removesuffix('-gpu')}-launcher"], "has no worker in it"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_found_before_anything_is_sent(words, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        target_of(*words)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match="cannot run on Dataflow") as caught:
        target_of("--project=", "--input=/here", "--sdk_container_image=")
    assert str(caught.value).count("\n  - ") == 3


def test_a_zone_that_the_user_names_is_not_doubted():
    _, target = target_of("--region=europe-west1", "--dataflow_gpu=a100", "--worker_zone=europe-west1-b")
    assert "--worker_zone=europe-west1-b" in target.flags
    assert "a2-highgpu-1g" in target.hints["accelerator"]


def test_a_gpu_of_dataflow_is_refused_elsewhere():
    flags, rest = parse([*PLACES, "--model=demo", "--dataflow_gpu=l4"])
    with pytest.raises(ValueError, match="needs --runner=DataflowRunner"):
        find_target(flags, rest, "a")


def test_without_googles_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dataflow.internal.apiclient", None)
    with pytest.raises(RunnerError, match=re.escape("pip install 'beam-pipeline[dataflow]'")):
        target_of()


@pytest.fixture
def bucket(gcs_server, google_key, monkeypatch):
    """A bucket with two media, on the emulator."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", google_key)
    base = f"gs://{new_bucket(gcs_server)}"
    for name in ("market.mp4", "village.opus"):
        Stores().serving(base).put_file(f"{base}/media/{name}", SAMPLES / name)
    return base


def command(bucket, service, *words):
    places = [f"--input={bucket}/media", f"--output={bucket}/out", "--model=demo", "--formats", "json"]
    here = ["--no_auth", f"--dataflow_endpoint={service.url}"]
    return [sys.executable, "-m", "beam_pipeline", *NEEDED, *places, *here, *words]


def run(*given, **settings):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command(*given), capture_output=True, text=True, env=environment, timeout=300, **settings)


def until(truth, within_s=120):
    end = time.monotonic() + within_s
    while not truth() and time.monotonic() < end:
        time.sleep(0.2)
    assert truth()


def printed(capsys, output):
    capsys.readouterr()
    assert status.main(["--output", output, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_submitted_job_runs_from_what_was_staged_and_is_waited_for(bucket, dataflow_service, tmp_path, cli):
    done = run(bucket, dataflow_service)
    assert done.returncode == 0, done.stderr
    assert "2 transcripts, 0 dead letters" in done.stdout
    assert re.search(
        r"Dataflow job .*, see https://console.cloud.google.com/dataflow/jobs/us-central1/2026-0", done.stderr
    )
    assert counters(f"{bucket}/out")["save.media"] == 2
    here = cli(
        "--input", SAMPLES / "market.mp4", SAMPLES / "village.opus", "--output", tmp_path / "out", "--model", "demo"
    )
    assert here.code == 0, here.err
    texts = [
        {(row["id"], row["start"]): row["text"] for row in table(place, "segments")}
        for place in (f"{bucket}/out", tmp_path / "out")
    ]
    assert texts[0] == texts[1]
    assert {name for name, _ in texts[0]} == {"market.mp4", "village.opus"}


def test_a_job_that_is_left_ends_its_run_by_itself_and_holds_the_output_till_then(bucket, dataflow_service, capsys):
    dataflow_service.runs = False
    left = run(bucket, dataflow_service, "--no_wait")
    assert left.returncode == 0, left.stderr
    assert "left running as beam-pipeline-" in left.stdout
    assert printed(capsys, f"{bucket}/out")["state"] == "running"
    second = run(bucket, dataflow_service, "--no_wait")
    assert second.returncode == 1
    assert "goes on in its cluster" in second.stderr
    (job_id,) = dataflow_service.jobs
    dataflow_service.start(job_id)
    assert dataflow_service.ended(job_id) == "JOB_STATE_DONE"
    found = printed(capsys, f"{bucket}/out")
    assert (found["state"], found["done"], found["exit_code"]) == ("finished", 2, 0)


def test_a_polite_kill_cancels_the_job(bucket, dataflow_service):
    dataflow_service.runs = False
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ours = subprocess.Popen(command(bucket, dataflow_service), stderr=subprocess.PIPE, text=True, env=environment)
    try:
        until(lambda: dataflow_service.jobs)
        for line in ours.stderr:
            if "Dataflow job queued" in line:
                break
        ours.send_signal(signal.SIGTERM)
        rest = ours.stderr.read()
        assert ours.wait(60) == 128 + signal.SIGTERM
    finally:
        ours.kill()
    assert "the Dataflow job was cancelled" in rest
    assert [job["currentState"] for job in dataflow_service.jobs.values()] == ["JOB_STATE_CANCELLED"]


def test_a_job_that_fails_says_why_in_a_few_lines(bucket, dataflow_service):
    done = run(bucket, dataflow_service, "--max_failures=0", "--max_media_hours=0.0001")
    assert done.returncode == 1
    assert "media failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_for_staging_that_cannot_be_written_is_found_before_the_job_is_submitted(bucket, dataflow_service):
    done = run(bucket, dataflow_service, "--temp_location=gs://no-such-bucket-here/tmp")
    assert done.returncode == 2
    assert "--temp_location gs://no-such-bucket-here/tmp cannot be written" in done.stderr
    assert dataflow_service.jobs == {}


def test_a_service_that_refuses_is_quoted(bucket, dataflow_service):
    dataflow_service.denied = "Permission dataflow.jobs.create denied on a-project"
    done = run(bucket, dataflow_service)
    assert done.returncode == 1
    assert dataflow_service.denied in done.stderr
