"""An Airflow DAG for batch runs, on any runner: its form, its graph, and how often each task is tried.

    new_media → choose_runner → transcribe | transcribe_on_dataflow → report → warn_of_dead_letters

Imported by DAG files from the same folder; imports neither the product nor anything of it.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator
from airflow.sdk import DAG, Param
from beam_pipeline_tasks import (
    PYTHON,
    NewMediaSensor,
    TranscribeOperator,
    choose_runner,
    flex_template_body,
    pipeline_options,
    report,
    warn_of_dead_letters,
)

LOOK_EVERY = datetime.timedelta(minutes=10)
RETRIES = {
    "retries": 4,
    "retry_delay": datetime.timedelta(minutes=2),
    # 2, 4, 8, 16 minutes, each up to twice as long; True would mean 1: no growth
    "retry_exponential_backoff": 2,
    "max_retry_delay": datetime.timedelta(hours=1),
}
CODE = {"type": ["null", "string"], "pattern": "^[a-z]{2,3}$"}
TEXT = {"type": ["null", "string"]}
DATAFLOW = {"section": "Dataflow"}

# A field's default, then what Airflow's form is made from and checks.
FORM: dict[str, tuple[Any, dict[str, Any]]] = {
    "input": ([], {
        "title": "Input", "type": "array", "items": {"type": "string"}, "minItems": 1,
        "description": "Media, folders, patterns or manifests, one a line: local paths, s3:// or gs://",
    }),
    "output": ("", {
        "title": "Output", "type": "string", "minLength": 1,
        "description": "A folder that every worker reaches: a path, s3:// or gs://",
    }),
    "runner": ("DirectRunner", {
        "title": "Runner", "type": "string", "enum": ["DirectRunner", "FlinkRunner", "DataflowRunner"],
        "description": "Where the graph runs: on Airflow's worker, on Flink, or on Dataflow by a flex template",
    }),
    "model": ("openai/whisper-large-v3", {
        "title": "Model", "type": "string", "minLength": 1,
        "examples": ["openai/whisper-large-v3", "openai/whisper-large-v3-turbo", "demo"],
        "description": "A Whisper checkpoint: id on the Hugging Face hub, or folder",
    }),
    "language": (None, {
        "title": "Language", **CODE, "description": "Of all media, such as hi; found in each where this is empty",
    }),
    "translate_to": (None, {"title": "Translate to", **CODE, "description": "Such as en; nothing if empty"}),
    "max_failures": (None, {
        "title": "Failures allowed", "type": ["null", "number"], "minimum": 0,
        "description": "End the run when more media than this number, or this share such as 0.05, fail in it",
    }),
    "more": ({}, {
        "title": "More flags", "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
        "description": 'Any other flag by its name, such as {"retry_failed": true}; lists go into a "config" file. '
        "No keys: those belong into the connection beam_pipeline",
    }),
    "wait_hours": (6, {
        "title": "Hours to wait", "type": "number", "minimum": 0,
        "description": "For new media; the run is skipped if none come. 0 looks once",
    }),
    "flink_master": (None, {
        "title": "Flink's address", "type": ["null", "string"], "pattern": "^[^/]+:[0-9]+$", "section": "Flink",
        "description": "HOST:PORT of the JobManager; Flink runs embedded in the worker if empty",
    }),
    "project": (None, {"title": "Project", **TEXT, **DATAFLOW}),
    "region": (None, {"title": "Region", **TEXT, **DATAFLOW, "examples": ["us-central1", "europe-west4"]}),
    "template": (None, {
        "title": "Flex template", "type": ["null", "string"], "pattern": "^gs://", **DATAFLOW,
        "description": "The spec that `gcloud dataflow flex-template build` wrote: gs://…/spec.json",
    }),
    "image": (None, {
        "title": "Image of the workers", **TEXT, **DATAFLOW,
        "description": "With the product in it, such as us-docker.pkg.dev/PROJECT/REPOSITORY/beam-pipeline:TAG",
    }),
    "gpu": (None, {"title": "GPU", **TEXT, **DATAFLOW, "examples": ["t4", "l4", "a100", "a100-80gb", "h100"]}),
    "environment": ({}, {
        "title": "Environment", "type": "object", **DATAFLOW,
        "description": "As Dataflow's API calls it: tempLocation, serviceAccountEmail, subnetwork and so on",
    }),
}  # fmt: skip


def media_dag(dag_id: str, schedule: str | None, **defaults: Any) -> DAG:
    """A DAG whose form has these defaults.

    Runs may wait for media side by side, so that none that waits holds up one that was triggered by hand. One of them
    transcribes at a time: the product would refuse a second on the same output.

    Raises:
        ValueError: a default is none of the form's.
    """
    if unknown := sorted(set(defaults) - set(FORM)):
        raise ValueError(f"{dag_id}: the form has no {', '.join(unknown)}; it has {', '.join(FORM)}")
    with DAG(
        dag_id,
        description="Transcripts, translations, subtitles and Parquet of new media",
        schedule=schedule,
        start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
        catchup=False,
        default_args=RETRIES,
        params={name: Param(defaults.get(name, default), **schema) for name, (default, schema) in FORM.items()},
        tags=["beam_pipeline"],
    ) as dag:
        transcribe = TranscribeOperator(
            task_id="transcribe",
            runner="{{ params.runner }}",
            py_interpreter=PYTHON,
            py_options=["-m"],
            py_file="beam_pipeline",
            pipeline_options=pipeline_options,
            max_active_tis_per_dag=1,
            # it would run in Airflow's triggerer, whatever Airflow's default is
            deferrable=False,
        )
        on_dataflow = DataflowStartFlexTemplateOperator(
            task_id="transcribe_on_dataflow",
            project_id="{{ params.project }}",
            location="{{ params.region }}",
            body=flex_template_body,
            max_active_tis_per_dag=1,
            deferrable=True,  # nothing of Airflow's is held while the job runs
        )
        new_media = NewMediaSensor(task_id="new_media", python=PYTHON, poke_interval=LOOK_EVERY)
        new_media >> choose_runner() >> [transcribe, on_dataflow] >> report(PYTHON) >> warn_of_dead_letters(PYTHON)
    return dag
