"""What the DAG would send to Dataflow. Nothing is sent: there is no Google account here."""

from __future__ import annotations

import json

import pytest

from beam_pipeline.parser import parse
from beam_pipeline.templates import flex
from tests.conftest import ROOT

FORM = {
    "runner": "DataflowRunner",
    "input": ["gs://talks/2026/*.mp4", "s3://calls/by hand"],
    "output": "gs://talks/out",
    "language": "hi",
    "translate_to": "en",
    "max_failures": 0.05,
    "more": {"chunk_minutes": 20, "retry_failed": True, "keep_missing": False},
    "project": "a-project",
    "region": "us-central1",
    "template": "gs://talks/templates/spec.json",
    "image": "a-registry/beam-pipeline:a-tag",
    "gpu": "l4",
    "environment": {"tempLocation": "gs://talks/tmp", "subnetwork": "regions/us-central1/subnetworks/private"},
}
RENDER = """
import json, os, pathlib, sys
from airflow.dag_processing.dagbag import BundleDagBag
from googleapiclient.discovery_cache import get_static_doc
folder = pathlib.Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
assert not bag.import_errors, bag.import_errors
dag = bag.get_dag("transcribe_nightly")
task = dag.get_task("transcribe_on_dataflow")
task.render_template_fields({"params": {**dag.params.dump(), **FORM}})
api = json.loads(get_static_doc("dataflow", "v1b3"))["schemas"]
print(json.dumps({
    "body": task.body, "project": task.project_id, "region": task.location,
    "launch": list(api["LaunchFlexTemplateParameter"]["properties"]),
    "environment": list(api["FlexTemplateRuntimeEnvironment"]["properties"]),
    "modules": list(sys.modules),
}))
"""


@pytest.fixture(scope="module")
def rendered(airflow):
    return airflow.python(f"FORM = {FORM!r}\n{RENDER}")


def test_the_request_says_what_the_form_does(rendered):
    assert (rendered["project"], rendered["region"]) == ("a-project", "us-central1")
    assert rendered["body"] == {
        "launchParameter": {
            "jobName": "transcribe-media",
            "containerSpecGcsPath": "gs://talks/templates/spec.json",
            "parameters": {
                "input": "'gs://talks/2026/*.mp4' 's3://calls/by hand'",
                "output": "gs://talks/out",
                "model": "openai/whisper-large-v3",
                "language": "hi",
                "translate_to": "en",
                "max_failures": "0.05",
                "chunk_minutes": "20",
                "retry_failed": "true",
                "dataflow_gpu": "l4",
                "sdk_container_image": "a-registry/beam-pipeline:a-tag",
            },
            "environment": FORM["environment"],
        }
    }


def test_the_request_has_only_fields_that_the_api_knows(rendered):
    launch = rendered["body"]["launchParameter"]
    assert set(launch) <= set(rendered["launch"])
    assert set(launch["environment"]) <= set(rendered["environment"])


def test_every_parameter_is_a_flag_of_the_product_and_means_the_same(rendered):
    parameters = rendered["body"]["launchParameter"]["parameters"]
    flags, rest = parse(flex.as_words([f"--{name}={value}" for name, value in parameters.items()]))
    assert rest == ["--sdk_container_image=a-registry/beam-pipeline:a-tag"]  # Beam's own
    assert (flags.input, flags.output, flags.language) == (FORM["input"], FORM["output"], "hi")
    assert (flags.max_failures, flags.chunk_minutes, flags.dataflow_gpu) == (0.05, 20, "l4")
    assert (flags.retry_failed, flags.keep_missing, flags.translate_to) == (True, False, "en")


def test_the_flex_template_takes_every_parameter_and_has_all_that_it_needs(rendered):
    metadata = json.loads((ROOT / "runners" / "dataflow" / "metadata.json").read_text())["parameters"]
    sent = set(rendered["body"]["launchParameter"]["parameters"])
    assert sent <= {each["name"] for each in metadata}
    assert {each["name"] for each in metadata if not each["isOptional"]} <= sent


def test_airflow_reads_the_dag_without_the_product_and_without_anything_heavy(rendered):
    heavy = {"beam_pipeline", "transforms", "runners", "apache_beam", "torch", "transformers", "pandas", "numpy"}
    assert heavy & set(rendered["modules"]) == set()
