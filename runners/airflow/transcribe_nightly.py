"""The Airflow DAG that transcribes what is new every night. Copy this file for each pile of media, and edit it.

Whatever stands here is what the form shows; a nightly run takes it as it is. All that can stand here: FORM in
beam_pipeline_airflow.py, which belongs beside this file, as does beam_pipeline_tasks.py. See docs/airflow.md.
"""

from __future__ import annotations

from beam_pipeline_airflow import media_dag

dag = media_dag(
    "transcribe_nightly",
    schedule="0 2 * * *",
    input=["/data/media"],
    output="/data/transcripts",
)
