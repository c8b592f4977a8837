"""Options from a config file, a template's form or Python, encoded as command-line arguments.

A config file and the form of a template have them as text, a call from Python as values.
"""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from beam_pipeline.beam_flags import flags as beam_flags
from beam_pipeline.errors import UsageError
from beam_pipeline.options import OPTIONS

TRUE = ("true", "yes", "on")


def to_arguments(values: Mapping[str, Any]) -> list[str]:
    """The values as command-line arguments; unknown names pass, and are refused by the parser.

    Raises:
        UsageError: a switch that is neither on nor off, or several values of an option that takes one.
    """
    return [word for name, value in values.items() for word in _arguments(name, value)]


class FlagKind(NamedTuple):
    """How a flag is given."""

    is_switch: bool = False
    several: bool = False  # values behind one flag
    adds_up: bool = False  # may be given several times


def flag_kind(name: str) -> FlagKind:
    """How a flag of ours or of Beam's is given; an unknown one passes, and is refused by the parser."""
    if option := OPTIONS.get(name):
        return FlagKind(option.is_switch, option.several, option.adds_up)
    known = beam_flags().get(f"--{name}")
    return FlagKind(known.nargs == 0, known.nargs == "+", known.adds_up) if known else FlagKind(adds_up=True)


def is_required(name: str) -> bool:
    """Whether the option is required."""
    return name in OPTIONS and OPTIONS[name].required


def _arguments(name: str, value: Any) -> list[str]:
    flag, shape = f"--{name}", flag_kind(name)
    if shape.is_switch:
        if not isinstance(value, bool):
            raise UsageError(f"{flag} is on or off: give True or False instead of {value!r}")
        return [flag] if value else []
    if not isinstance(value, (list, tuple)):
        return [f"{flag}={value}"]
    if shape.adds_up:
        return [f"{flag}={each}" for each in value]  # a value may begin with a dash
    if not shape.several:
        raise UsageError(f"{flag} takes one value instead of {value!r}")
    return [flag, *map(str, value)] if value else []


def from_text(values: Mapping[str, Any], split: bool = False) -> dict[str, Any]:
    """Values parsed from text; empty ones are left out.

    Args:
        split: several values stand in one text, parted as a shell would.
    """
    given: dict[str, Any] = {}
    for name, text in values.items():
        shape = flag_kind(name)
        if isinstance(text, str) and not text.strip() and not is_required(name):  # those are told of
            continue
        if shape.is_switch:
            given[name] = str(text).lower() in TRUE
        elif shape.several and isinstance(text, str):
            given[name] = shlex.split(text) if split else [text]
        else:
            given[name] = text
    return given


def read_config(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options and the `stores:` of a config file.

    Raises:
        UsageError: it cannot be one.
    """
    import yaml

    try:
        # BaseLoader: `language: no` is Norwegian
        content = yaml.load(pathlib.Path(path).read_text(), yaml.BaseLoader) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"--config {path} must map flags to values, such as `model: demo`")
    stores = content.pop("stores", None) or {}
    if not isinstance(stores, dict) or not all(isinstance(settings, dict) for settings in stores.values()):
        raise UsageError(f"--config {path}: `stores` must map names to settings, such as an endpoint")
    return from_text(content), stores
