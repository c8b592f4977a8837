"""What the launcher of a flex template of Dataflow runs: it builds the graph from its parameters when it is started.

The parameters are those of runners/dataflow/metadata.json, which are the flags. The launcher takes the path of a
file, and no module, so the image has a copy of this one.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from beam_pipeline import options
from beam_pipeline.__main__ import console


def main(argv: Sequence[str] | None = None) -> None:
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


if __name__ == "__main__":
    main()
