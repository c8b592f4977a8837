"""The flags of Beam's own option classes, known without importing Beam, which takes seconds.

They are listed in beam_flags.json, made by docs/generate.py. Beside another version of Beam the list is not believed.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import pathlib
from typing import Any, NamedTuple

# of argparse's actions, the one that keeps the last value given
ONCE = ("_StoreAction",)
LISTED = pathlib.Path(__file__).with_suffix(".json")


class BeamFlag(NamedTuple):
    """How a flag is given."""

    nargs: str | int | None  # as argparse has it: 0 for a switch, None for one value
    adds_up: bool = False  # may be given several times


@functools.cache
def flags() -> dict[str, BeamFlag]:
    """Every flag that Beam's option classes define, by its name with dashes."""
    content = json.loads(LISTED.read_text())
    if content["beam"] == importlib.metadata.version("apache-beam"):
        return {name: BeamFlag(*flag) for name, flag in content["flags"].items()}
    return described()


def described() -> dict[str, BeamFlag]:
    """The same, asked of Beam itself."""
    return {
        name: BeamFlag(action.nargs, action.nargs != 0 and type(action).__name__ not in ONCE)
        for action in _recorded()[1]
        for name in action.option_strings
        if name.startswith("--")
    }


def parser() -> argparse.ArgumentParser:
    """A parser of every flag that Beam's option classes define. Imports Beam."""
    return _recorded()[0]


def _recorded() -> tuple[argparse.ArgumentParser, list[argparse.Action]]:
    """That parser, and what was added to it."""
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    from runners.flink import flags  # noqa: F401 - its options are found by their base class

    added: list[argparse.Action] = []

    class Recording(_BeamArgumentParser):
        def add_argument(self, *words: Any, **settings: Any) -> argparse.Action:
            added.append(super().add_argument(*words, **settings))
            return added[-1]

    made = Recording(allow_abbrev=False, add_help=False, conflict_handler="resolve")
    waiting = list(PipelineOptions.__subclasses__())
    while waiting:
        options = waiting.pop()
        waiting += options.__subclasses__()
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(made)
    return made, added
