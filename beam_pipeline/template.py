"""Templates for Dataflow, which start a job where there is no Python.

A flex template's launcher builds the graph from its parameters when it is started: `flex`, with the parameters of
runners/dataflow/metadata.json, which are the flags. A classic template holds a graph that was built before:

    python -m beam_pipeline.template --template_location gs://BUCKET/FILE --project … --region … --temp_location …

Five flags may be given when it is started (late.py); all others are those of the build.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from beam_pipeline import launch, options, terminal
from beam_pipeline.__main__ import console
from beam_pipeline.job import make_job
from beam_pipeline.late import LATE, late_job
from beam_pipeline.submit import RunnerError, find_target, submit
from transforms.storage import Stores

PLACES = ["--input=gs://given-when-started/input", "--output=gs://given-when-started/output"]


def flex(argv: Sequence[str] | None = None) -> None:
    """Run the command line with a flex template's parameters, and leave the job to Dataflow."""
    words = sys.argv[1:] if argv is None else list(argv)
    console([*as_words(words), "--no_wait"])


def as_words(parameters: Sequence[str]) -> list[str]:
    """`--name=value` for each parameter as words of a command line: flags without a value, and those with several."""
    made = options.parser()
    kinds = {action.option_strings[0]: action for action in made._actions}
    words: list[str] = []
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        action = kinds.get(name)
        if action is None:
            words.append(parameter)  # Beam's own
        elif action.nargs == "+":
            words += [name, *shlex.split(value)] if value.strip() else []
        else:
            words += options.tokens(name, value, switch=action.nargs == 0)
    return words


def main(argv: Sequence[str] | None = None) -> int:
    """Build a classic template, put its metadata beside it, and return the exit code."""
    terminal.prepare()
    words = sys.argv[1:] if argv is None else list(argv)
    flags, beam_flags = options.parse([*PLACES, "--runner=DataflowRunner", *words])
    try:
        google = PipelineOptions(beam_flags).view_as(GoogleCloudOptions)
        if not (google.template_location and google.temp_location):
            raise ValueError("--template_location and --temp_location are needed: gs:// places for the template")
        if flags.keep_missing or flags.overwrite:
            raise ValueError("--keep_missing and --overwrite are for one run, and a template is started many times")
        built = vars(flags).copy()  # make_job settles more, by what is given when the template is started
        job = make_job(flags)
        target = find_target(flags, beam_flags, job.layers.run)
        submit(target, late_job(job, built, target.flags))
        place = google.template_location
        Stores().serving(place).put(f"{place}_metadata", json.dumps(metadata(), indent=1).encode())
    except (ValueError, RunnerError, OSError) as error:
        terminal.complain(f"error: {error}")
        return launch.USAGE if isinstance(error, ValueError) else launch.FAILED
    terminal.tell(f"built {place}. To start it:\n  {start_command(place, google.region)}")
    return launch.DONE


def start_command(place: str, region: str) -> str:
    return (
        f"gcloud dataflow jobs run NAME --gcs-location={place} --region={region} "
        "--parameters=input=gs://BUCKET/media,output=gs://BUCKET/out,language=hi,translate_to=en"
    )


def metadata() -> dict[str, Any]:
    """What Google's console asks for when it starts the classic template."""
    return {
        "name": "beam_pipeline",
        "description": options.DESCRIPTION,
        "parameters": [
            {"name": name, "label": name, "helpText": text, "isOptional": name not in ("input", "output")}
            for name, text in LATE.items()
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
