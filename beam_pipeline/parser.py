"""Parses a command line into the options' values. Wrong usage ends with one line and exit code 2."""

from __future__ import annotations

import argparse
import difflib
import math
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from beam_pipeline import beam_flags
from beam_pipeline.config import read_config, to_arguments
from beam_pipeline.errors import UsageError
from beam_pipeline.options import DESCRIPTION, EPILOG, OPTIONS, STEPS, Option

SECRET = re.compile(r"--\w*(secret|token|password|access_key|connection_string)")


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of printing argparse's whole usage and ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def default_text(default: Any) -> str:
    """A default as people read it, "" where there is none to show."""
    if default in (None, "", False, math.inf, argparse.SUPPRESS):
        return ""
    return " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)


def parser() -> Parser:
    """The parser of all options of ours."""
    made = Parser(
        prog="python -m beam_pipeline",
        usage="python -m beam_pipeline --input MEDIA [MEDIA ...] --output FOLDER [flags]",
        description=DESCRIPTION,
        epilog=EPILOG,
        allow_abbrev=False,
    )
    for step, options in STEPS.items():
        group = made.add_argument_group(step)
        for option in options:
            group.add_argument(f"--{option.name}", **_settings(option))
    made.set_defaults(stores={})  # only a config file has them
    return made


def _settings(option: Option) -> dict[str, Any]:
    """The arguments of argparse's add_argument for an option."""
    default = "" if option.required else default_text(option.default)
    says = (option.help + (f" (default: {default})" if default else "")).replace("%", "%%").strip()
    if option.is_switch:
        return {"action": "store_true", "help": says}
    arguments = {"type": option.kind, "required": option.required, "default": option.default, "help": says}
    if option.several:
        arguments |= {"nargs": "+", "default": list(option.default)}
        arguments |= {"action": "extend", "default": None} if option.adds_up else {}
    if option.choices:
        arguments["choices"] = option.choices
    return arguments | ({"metavar": option.metavar} if option.metavar else {})


def parse(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and the words that are flags of Beam's.

    Raises:
        UsageError: a flag that neither knows, a value that cannot be, or a flag without the one that it belongs to.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    words, stores = _with_config(words)
    made = parser()
    made.set_defaults(stores=stores)
    flags, rest = made.parse_known_args(words)
    refuse_unknown(rest)
    if flags.json and not flags.dry_run:
        raise UsageError(
            "--json says how --dry_run prints: give both. Of a run, `python -m beam_pipeline.status --json` tells"
        )
    return flags, rest


def refuse_unknown(rest: Sequence[str]) -> None:
    """Raise UsageError on flags that Beam would silently ignore, and on flags of Beam's that take a secret."""
    for word in rest:
        if SECRET.match(word):
            raise UsageError(
                f"{word.partition('=')[0]} would show a secret to everybody on this machine: see docs/stores.md"
            )
    known = Parser(allow_abbrev=False, add_help=False)
    for name, flag in beam_flags.flags().items():
        known.add_argument(name, **({"action": "store_true"} if flag.nargs == 0 else {"nargs": flag.nargs}))
    _, unknown = known.parse_known_args(list(rest))
    if unknown:
        name = unknown[0].split("=")[0]
        near = difflib.get_close_matches(name, [f"--{each}" for each in OPTIONS] + list(beam_flags.flags()), 1)
        raise UsageError(f"unknown argument {unknown[0]}" + (f"; did you mean {near[0]}?" if near else ""))


def check_beam_flags(rest: Sequence[str]) -> None:
    """Raise UsageError on a value that a flag of Beam's cannot take. Imports Beam."""
    made = beam_flags.parser()

    def refuse(message: str) -> NoReturn:
        raise UsageError(message)

    made.error = refuse  # type: ignore[method-assign]  # one line, as for options of ours
    made.parse_known_args(list(rest))


def _with_config(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """The config file's arguments before those of the command line, without options that both give."""
    finder = Parser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(words)[0].config
    if path is None:
        return words, {}
    if not path.strip():
        raise UsageError("--config is empty: is a variable not set?")
    content, stores = read_config(path)
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    return to_arguments({name: value for name, value in content.items() if f"--{name}" not in given}) + words, stores
