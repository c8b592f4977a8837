"""What the launcher of a flex template of Dataflow runs: it builds the graph from its parameters when it is started.

The parameters are those of runners/dataflow/metadata.json, which are the flags. The launcher takes the path of a
file, and no module, so the image has a copy of this one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_pipeline.__main__ import console
from beam_pipeline.config import from_text, to_arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line with a flex template's parameters, and leave the job to Dataflow."""
    console([*as_words(sys.argv[1:] if argv is None else argv), "--no_wait"])


def as_words(parameters: Sequence[str]) -> list[str]:
    """`--name=value` for each parameter as words of a command line: switches without a value, and several values."""
    given = dict(parameter.removeprefix("--").split("=", 1) for parameter in parameters if "=" in parameter)
    switches = [parameter for parameter in parameters if "=" not in parameter]
    return [*to_arguments(from_text(given, split=True)), *switches]


if __name__ == "__main__":
    main()
