"""The tasks of beam_pipeline_airflow.py: what the product is told, and what its exit codes mean to Airflow.

Airflow's own environment need not have the product. Whatever has to be known of media and outputs is asked of the
product itself, by the Python that the Variable `beam_pipeline_python` names, so all stores are alike.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

from airflow.providers.apache.beam.hooks.beam import beam_options_to_args
from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.sdk import BaseHook, BaseSensorOperator, task
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

PYTHON = "{{ var.value.beam_pipeline_python }}"
CONNECTION = "beam_pipeline"
DONE, USAGE, WITH_DEAD_LETTERS = 0, 2, 3  # the product's exit codes, beside 1
FLAGS = (
    "input",
    "output",
    "model",
    "language",
    "translate_to",
    "max_failures",
)  # of the form, called as it calls them
# of the totals of a dry run: media with something left to do
TO_DO = ("transcribe", "write_files")
# dead letters in the log and in the XCom, which Airflow keeps in its database
LISTED = 100

log = logging.getLogger(__name__)


def flags_of(params: dict[str, Any]) -> dict[str, Any]:
    """The product's flags by name; what was left empty in the form keeps the product's own default."""
    flags = {**{name: params[name] for name in FLAGS}, **params["more"]}
    return {name: value for name, value in flags.items() if value not in (None, "") and value is not False}


def pipeline_options(context: dict[str, Any], **_: Any) -> dict[str, Any]:
    """The flags of a run on Direct or Flink, worked out when the task begins."""
    params = context["params"]
    on_cluster = params["runner"] == "FlinkRunner" and params["flink_master"]
    return flags_of(params) | ({"flink_master": params["flink_master"]} if on_cluster else {})


def flex_template_body(context: dict[str, Any], **_: Any) -> dict[str, Any]:
    """The request that launches the flex template, as Dataflow's API defines it: every parameter is text."""
    params = context["params"]
    flags = flags_of(params) | ({"dataflow_gpu": params["gpu"]} if params["gpu"] else {})
    flags["sdk_container_image"] = params["image"]
    return {
        "launchParameter": {
            "jobName": "transcribe-media",
            "containerSpecGcsPath": params["template"],
            "parameters": {name: _as_text(value) for name, value in flags.items()},
            "environment": params["environment"],
        }
    }


def _as_text(value: Any) -> str:
    """A value as the flex template takes it: several as a shell would part them, a flag without a value as true."""
    if isinstance(value, list):
        return shlex.join(value)
    return "true" if value is True else str(value)


@task.branch
def choose_runner(params: dict[str, Any]) -> str:
    """The task that runs it, when what its runner needs was given."""
    if params["runner"] != "DataflowRunner":
        return "transcribe"
    if missing := [name for name in ("project", "region", "template", "image") if not params[name]]:
        raise AirflowFailException(f"DataflowRunner needs {', '.join(missing)}: see the form")
    if local := [place for place in (*params["input"], params["output"]) if "://" not in place]:
        raise AirflowFailException(f"Dataflow does not see {', '.join(local)}: copy it to gs:// or s3://")
    return "transcribe_on_dataflow"


class TranscribeOperator(BeamRunPythonPipelineOperator):
    """Runs the product with the keys that the connection keeps. Exit code 3 is an end, too, and 2 is not retried."""

    template_fields = (*BeamRunPythonPipelineOperator.template_fields, "py_interpreter")

    def execute(self, context: Any) -> None:
        try:
            with _keys():
                super().execute(context)
        except AirflowException as error:
            told = re.search(r"return code (-?\d+)", str(error))  # all that Airflow's hook tells of it
            if not told:
                raise
            settle(int(told[1]), "the run")


class NewMediaSensor(BaseSensorOperator):
    """Waits, without a worker, until the product says that something is left to do; skipped where nothing comes."""

    template_fields = ("python",)

    def __init__(self, *, python: str, **settings: Any) -> None:
        super().__init__(mode="reschedule", **settings)
        self.python = python

    def execute(self, context: Any) -> None:
        self.timeout = 3600 * context["params"]["wait_hours"]
        try:
            super().execute(context)
        except AirflowSensorTimeout:  # soft_fail would skip wrong usage, too
            raise AirflowSkipException("no new media") from None

    def poke(self, context: Any) -> bool:
        params = context["params"]
        last = last_run(self.python, params)
        if last.get("state") == "running":
            self.log.info("another run is on %s", params["output"])
            return False
        if last and last["exit_code"] not in (DONE, WITH_DEAD_LETTERS):
            self.log.info("the last run did not come to its end: going on with it")
            return True
        words = beam_options_to_args({**flags_of(params), "dry_run": True, "json": True})
        totals = json.loads("".join(said(self.python, "beam_pipeline", words)))["totals"]
        left = sum(totals[todo] for todo in TO_DO)
        self.log.info("%d media to do", left)
        return left > 0


@task(trigger_rule="none_failed_min_one_success")
def report(python: str, params: dict[str, Any]) -> dict[str, Any]:
    """summary.json of the run, when the output says that it came to its end, on whichever runner."""
    last = last_run(python, params)
    if last.get("exit_code") not in (DONE, WITH_DEAD_LETTERS):
        told = f"exit code {last['exit_code']}" if last else "it left no record"
        raise AirflowException(f"the run on {params['output']} did not come to its end: {told}")
    return last["summary"]


@task
def warn_of_dead_letters(python: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    """The first dead letters, with id, code, message and whether a retry can help; skipped where there are none."""
    letters = json.loads("".join(said(python, "beam_pipeline.failures", _looking(params))))["failures"]
    if not letters:
        raise AirflowSkipException("every recording is done")
    log.warning("%d media could not be done; all of them: %s/dead_letters", len(letters), params["output"])
    kept = ("code", "message", "retryable")
    listed = [{"id": each["media"]["id"], **{name: each[name] for name in kept}} for each in letters[:LISTED]]
    for letter in listed:
        log.warning("%(id)s: %(code)s: %(message)s", letter)
    return listed


def last_run(python: str, params: dict[str, Any]) -> dict[str, Any]:
    """What the output tells of the last run on it; empty where there was none."""
    with contextlib.suppress(AirflowFailException):  # what ails the output itself, the next command says as well
        return json.loads("".join(said(python, "beam_pipeline.status", _looking(params))))
    return {}


def _looking(params: dict[str, Any]) -> list[str]:
    config = params["more"].get("config")  # describes stores
    return ["--json", f"--output={params['output']}", *([f"--config={config}"] if config else [])]


def said(python: str, module: str, words: list[str]) -> Iterator[str]:
    """The lines that a command of the product prints; what it logs goes to the task's log.

    Raises:
        AirflowFailException: wrong usage, or no such Python.
        AirflowException: it failed.
    """
    command = [python, "-m", module, *words]
    try:
        with _keys(), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            yield from process.stdout or ()
    except FileNotFoundError:
        raise AirflowFailException(f"the Variable beam_pipeline_python names no Python: {python}") from None
    settle(process.returncode, module)


def settle(code: int, what: str) -> None:
    """Turn the exit code of a command of the product into what Airflow does next."""
    if code == USAGE:
        raise AirflowFailException(f"{what}: wrong usage, see the log. Trying again would not help")
    if code == WITH_DEAD_LETTERS:
        log.warning("%s finished with dead letters", what)
    elif code != DONE:
        raise AirflowException(f"{what} ended with exit code {code}, see the log. The next try goes on where it was")


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Adds what the connection keeps in its Extra, if there is one, to the environment while the block runs."""
    before = dict(os.environ)
    with contextlib.suppress(AirflowNotFoundException):
        kept = BaseHook.get_connection(CONNECTION).extra_dejson
        os.environ.update({name: str(value) for name, value in kept.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
