"""Where the Airflow DAG and the product have to agree, read from its source: Airflow is not needed for that."""

from __future__ import annotations

import ast
import json

import pytest

from beam_pipeline.options import OPTIONS
from tests.conftest import ROOT, SAMPLES
from tests.runs import run
from transforms.work.exit_code import ExitCode

FOLDER = ROOT / "runners" / "airflow"
MEDIA = 7


def assigned(file, name):
    """The expression that the file gives a name."""
    for node in ast.parse((FOLDER / file).read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        if name in [getattr(each, "id", "") for each in names]:
            return node.value
    raise KeyError(name)


FLAGS = ast.literal_eval(assigned("beam_pipeline_tasks.py", "FLAGS"))
TO_DO = ast.literal_eval(assigned("beam_pipeline_tasks.py", "TO_DO"))
FORM = assigned("beam_pipeline_airflow.py", "FORM")
DEFAULTS = {key.value: ast.literal_eval(field.elts[0]) for key, field in zip(FORM.keys, FORM.values, strict=True)}


@pytest.mark.parametrize("name", FLAGS)
def test_each_field_of_the_form_is_a_flag_with_the_same_default(name):
    option = OPTIONS[name]
    if not option.required:
        assert DEFAULTS[name] in (None, option.default)


def test_exit_codes_are_those_of_the_product():
    codes = ast.literal_eval(assigned("beam_pipeline_tasks.py", "USAGE"))
    assert codes == (ExitCode.DONE, ExitCode.USAGE, ExitCode.WITH_DEAD_LETTERS)


@pytest.mark.parametrize(
    ("changed", "left"),
    [((), 0), (("--formats", "json"), MEDIA), (("--language", "hi"), MEDIA)],
    ids=["nothing new", "files to write", "to transcribe"],
)
def test_the_sensor_counts_the_media_that_a_dry_run_would_do(sample_run, changed, left):
    flags = ("--input", SAMPLES, "--output", sample_run, "--model", "demo", "--translate_to", "en")
    dry = run(*flags, *changed, "--dry_run", "--json", "--log_level", "ERROR")
    assert dry.code == 0, dry.said
    totals = json.loads(dry.said)["totals"]
    assert sum(totals[todo] for todo in TO_DO) == left
