"""Flex templates: the words of a launcher, what it stages, and the parameters that it offers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from beam_pipeline.options import OPTIONS
from beam_pipeline.parser import parse
from beam_pipeline.templates import flex
from tests.conftest import ROOT, SAMPLES
from tests.gcs import new_bucket
from tests.runs import names
from transforms.storage import Stores

pytestmark = pytest.mark.long(15)

pytest.importorskip(
    "google.cloud.dataflow_v1beta3", reason="NOT TESTED: no packages of Google's: pip install '.[dataflow]'"
)

GOOGLE = ["--project=a-project", "--region=us-central1", "--sdk_container_image=a/b:c", "--no_auth"]
MEDIA = ("market.mp4", "village.opus", "office.mp3")


@pytest.fixture
def bucket(gcs_server, google_key, monkeypatch):
    """A bucket with three media, on the emulator."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", google_key)
    base = f"gs://{new_bucket(gcs_server)}"
    for name in MEDIA:
        Stores().serving(base).put_file(f"{base}/media/{name}", SAMPLES / name)
    return base


def test_a_launchers_parameters_are_the_words_of_the_same_command():
    given = [
        "--input=gs://a/b gs://a/'c d'", "--output=gs://a/out", "--overwrite=true", "--retry_failed=false",
        "--formats=srt vtt", "--languages=", "--model=demo", "--max_num_workers=7", "--translate_to=",
    ]  # fmt: skip
    words = flex.as_words(given)
    assert words == [
        "--input=gs://a/b", "--input=gs://a/c d", "--output=gs://a/out", "--overwrite", "--formats", "srt", "vtt",
        "--model=demo", "--max_num_workers=7",
    ]  # fmt: skip
    flags, _ = parse(words)
    assert flags.input == ["gs://a/b", "gs://a/c d"]
    assert flags.overwrite
    assert not flags.retry_failed


def test_a_flex_launcher_stages_the_job_and_does_not_wait(bucket, dataflow_service):
    """The launcher gives `--template_location`, and submits what Beam leaves there."""
    script = [
        sys.executable,
        flex.__file__,
        "--runner=DataflowRunner",
        *GOOGLE,
    ]
    parameters = [f"--input={bucket}/media", f"--output={bucket}/out", "--model=demo", "--formats=json txt"]
    launcher = [f"--template_location={bucket}/staging/job", f"--temp_location={bucket}/tmp", "--job_name=nightly"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*script, *parameters, *launcher], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "left running as nightly" in done.stdout
    assert dataflow_service.jobs == {}
    job = json.loads(Stores().serving(bucket).read(f"{bucket}/staging/job"))
    assert job["name"] == "nightly"
    job_id = dataflow_service.launch(job)
    assert dataflow_service.ended(job_id) == "JOB_STATE_DONE", dataflow_service.jobs[job_id].get("error")
    files = [f"{name}.{kind}" for name in ("market", "office", "village") for kind in ("json", "txt")]
    assert names(f"{bucket}/out", "media") == set(files)
    assert json.loads(Stores().serving(bucket).read(f"{bucket}/out/run.json"))["exit_code"] == 0


def test_a_flex_template_offers_every_flag_that_a_job_there_can_use_and_each_reaches_the_command():
    metadata = json.loads((ROOT / "runners" / "dataflow" / "metadata.json").read_text())
    parameters = {each["name"]: each for each in metadata["parameters"]}
    assert OPTIONS.keys() - parameters.keys() == {"config", "runner", "no_wait", "dry_run", "json", "metrics_port"}
    assert parameters.keys() - OPTIONS.keys() == {"sdk_container_image"}
    assert {name for name, each in parameters.items() if not each["isOptional"]} == {
        "input",
        "output",
        "sdk_container_image",
    }
    places = ["--input=gs://a-bucket/in", "--output=gs://a-bucket/out"]
    defaults = [f"--{name}={each['defaultValue']}" for name, each in parameters.items() if "defaultValue" in each]
    given, _ = parse(flex.as_words([*places, *defaults]))
    plain, _ = parse(places)
    assert vars(given) == vars(plain)
    for name, each in parameters.items():
        for choice in each.get("enumOptions", []):
            assert (
                str(getattr(parse(flex.as_words([*places, f"--{name}={choice['value']}"]))[0], name))
                == choice["value"]
            )
