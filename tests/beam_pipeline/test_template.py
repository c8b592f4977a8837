"""Templates: a graph built once and started many times with other media and another model, and a launcher's words."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from beam_pipeline import options, status, template
from beam_pipeline.late import LATE
from tests.conftest import ROOT, SAMPLES
from tests.gcs import new_bucket
from tests.runs import letters, names, table
from transforms.storage import Stores

pytest.importorskip(
    "google.cloud.dataflow_v1beta3", reason="NOT TESTED: no packages of Google's: pip install '.[dataflow]'"
)

GOOGLE = ["--project=a-project", "--region=us-central1", "--sdk_container_image=a/b:c", "--no_auth"]
BUILD = [*GOOGLE, "--formats", "json"]
MEDIA = ("market.mp4", "village.opus", "office.mp3")


@pytest.fixture
def bucket(gcs_server, monkeypatch):
    """A bucket with three media, on the emulator."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    base = f"gs://{new_bucket(gcs_server)}"
    for name in MEDIA:
        Stores().serving(base).put_file(f"{base}/media/{name}", SAMPLES / name)
    return base


def build(bucket, *words):
    places = [f"--template_location={bucket}/templates/transcribe", f"--temp_location={bucket}/tmp"]
    command = [sys.executable, "-m", "beam_pipeline.template", *BUILD, *places, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def built(bucket, *words):
    done = build(bucket, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(Stores().serving(bucket).read(f"{bucket}/templates/transcribe"))


def test_the_template_is_a_job_with_its_pool_and_leaves_open_what_is_given_later(bucket):
    job = built(bucket, "--dataflow_gpu=t4")
    (pool,) = job["environment"]["workerPools"]
    assert {each["containerImage"] for each in pool["sdkHarnessContainerImages"]} == {"a/b:c"}
    assert pool["machineType"] == "n2-standard-4"
    given = job["environment"]["sdkPipelineOptions"]["options"]
    assert given["pipelineUrl"].startswith(f"{bucket}/tmp/")
    assert not set(LATE) & set(given)
    told = json.loads(Stores().serving(bucket).read(f"{bucket}/templates/transcribe_metadata"))
    assert [each["name"] for each in told["parameters"]] == list(LATE)
    assert [each["name"] for each in told["parameters"] if not each["isOptional"]] == ["input", "output"]


def test_one_template_runs_with_other_media_languages_models_and_outputs(bucket, dataflow_service, capsys):
    job = built(bucket)  # for a model of 30 s windows that is not here
    first = dataflow_service.launch(
        job, "one", input=f"{bucket}/media/market.mp4", output=f"{bucket}/one", model="demo", translate_to="en"
    )
    both = f"{bucket}/media/office.mp3 {bucket}/media/village.opus"
    second = dataflow_service.launch(job, "two", input=both, output=f"{bucket}/two", model="demo", language="hi")
    assert dataflow_service.ended(first) == "JOB_STATE_DONE", dataflow_service.jobs[first].get("error")
    assert dataflow_service.ended(second) == "JOB_STATE_DONE", dataflow_service.jobs[second].get("error")
    one, two = ({row["id"]: row for row in table(f"{bucket}/{each}", "transcripts")} for each in ("one", "two"))
    assert set(one) == {"market.mp4"}
    assert one["market.mp4"]["model"] == "demo"
    assert all(row["translation"] for row in table(f"{bucket}/one", "segments"))
    assert {name: row["language"] for name, row in two.items()} == {"office.mp3": "hi", "village.opus": "hi"}
    assert not any(row["translation"] for row in table(f"{bucket}/two", "segments"))
    assert names(f"{bucket}/two", "media") == {"office.json", "village.json"}
    capsys.readouterr()
    assert status.main(["--output", f"{bucket}/two", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["media"], told["done"], told["exit_code"]) == ("finished", 2, 2, 0)


def test_the_same_template_goes_on_where_it_was_the_next_night(bucket, dataflow_service):
    job = built(bucket, "--model=demo")
    media = Stores().serving(bucket)
    media.put(f"{bucket}/media/empty.wav", b"")
    given = {"input": f"{bucket}/media", "output": f"{bucket}/out"}
    for night in ("monday", "tuesday"):
        job_id = dataflow_service.launch(job, night, **given)
        assert dataflow_service.ended(job_id) == "JOB_STATE_DONE", dataflow_service.jobs[job_id].get("error")
    (letter,) = letters(f"{bucket}/out").items()
    assert letter == ("empty.wav", "empty_file")
    record = json.loads(media.read(f"{bucket}/out/run.json"))
    assert record["exit_code"] == 3
    assert f"--input {bucket}/media" in " ".join(record["command"])
    summary = json.loads(media.read(f"{bucket}/out/summary.json"))
    assert summary["transcripts"] == 3
    assert not summary["this_run"].get("media")


def test_a_template_started_with_too_little_or_an_unknown_language_says_so(bucket, dataflow_service):
    job = built(bucket, "--model=demo")
    no_output = dataflow_service.launch(job, "one", input=f"{bucket}/media")
    assert dataflow_service.ended(no_output) == "JOB_STATE_FAILED"
    assert "the template was started without --output" in dataflow_service.jobs[no_output]["error"]
    given = {"input": f"{bucket}/media", "output": f"{bucket}/out", "language": "xx"}
    unknown = dataflow_service.launch(job, "two", **given)
    assert dataflow_service.ended(unknown) == "JOB_STATE_FAILED"
    assert "does not know the language 'xx'" in dataflow_service.jobs[unknown]["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--overwrite"], "are for one run"),
        (["--temp_location="], "--template_location and --temp_location are needed"),
        (["--project="], "--project is missing"),
        (["--dataflow_gpu=none", "--sdk_container_image=apache/beam_python3.11_sdk"], "without this package"),
    ],
)
def test_a_template_that_could_not_work_is_not_built(bucket, words, said):
    done = build(bucket, *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_launchers_parameters_are_the_words_of_the_same_command():
    given = [
        "--input=gs://a/b gs://a/'c d'", "--output=gs://a/out", "--overwrite=true", "--retry_failed=false",
        "--formats=srt vtt", "--languages=", "--model=demo", "--max_num_workers=7", "--translate_to=",
    ]  # fmt: skip
    words = template.as_words(given)
    assert words == [
        "--input", "gs://a/b", "gs://a/c d", "--output=gs://a/out", "--overwrite", "--formats", "srt", "vtt",
        "--model=demo", "--max_num_workers=7",
    ]  # fmt: skip
    flags, _ = options.parse(words)
    assert flags.input == ["gs://a/b", "gs://a/c d"]
    assert flags.overwrite
    assert not flags.retry_failed


def test_a_flex_launcher_stages_the_job_and_does_not_wait(bucket, dataflow_service):
    """The launcher gives `--template_location`, and submits what Beam leaves there."""
    script = [sys.executable, str(ROOT / "beam_pipeline" / "flex_main.py"), "--runner=DataflowRunner", *GOOGLE]
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
    job_id = dataflow_service.launch(job, "nightly")
    assert dataflow_service.ended(job_id) == "JOB_STATE_DONE", dataflow_service.jobs[job_id].get("error")
    files = [f"{name}.{kind}" for name in ("market", "office", "village") for kind in ("json", "txt")]
    assert names(f"{bucket}/out", "media") == set(files)
    assert json.loads(Stores().serving(bucket).read(f"{bucket}/out/run.json"))["exit_code"] == 0


def test_a_flex_template_offers_every_flag_that_a_job_there_can_use_and_each_reaches_the_command():
    metadata = json.loads((ROOT / "runners" / "dataflow" / "metadata.json").read_text())
    parameters = {each["name"]: each for each in metadata["parameters"]}
    flags = {action.dest: action for action in options.parser()._actions if action.option_strings[0] != "-h"}
    assert flags.keys() - parameters.keys() == {"config", "runner", "no_wait", "dry_run", "metrics_port"}
    assert parameters.keys() - flags.keys() == {"sdk_container_image"}
    assert {name for name, each in parameters.items() if not each["isOptional"]} == {
        "input",
        "output",
        "sdk_container_image",
    }
    places = ["--input=gs://a-bucket/in", "--output=gs://a-bucket/out"]
    defaults = [f"--{name}={each['defaultValue']}" for name, each in parameters.items() if "defaultValue" in each]
    given, _ = options.parse(template.as_words([*places, *defaults]))
    plain, _ = options.parse(places)
    assert vars(given) == vars(plain)
    for name, each in parameters.items():
        for choice in each.get("enumOptions", []):
            assert (
                str(getattr(options.parse(template.as_words([*places, f"--{name}={choice['value']}"]))[0], name))
                == choice["value"]
            )
