"""The Dockerfile as a builder reads it: its stages, and the files of the checkout that it may copy."""

from __future__ import annotations

import shlex
import string
from collections.abc import Mapping
from typing import NamedTuple

from docker.utils.build import exclude_paths
from dockerfile_parse import DockerfileParser

from tests.conftest import ROOT

DOCKERFILE = ROOT / "runners" / "container" / "Dockerfile"


class Step(NamedTuple):
    """One instruction, with its lines joined."""

    instruction: str  # in capitals
    value: str


class Stage(NamedTuple):
    """What stands between one FROM and the next."""

    base: str  # a stage or an image
    steps: list[Step]


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with $NAME and ${NAME} filled in, as a builder does outside of RUN; unknown ones are empty."""
    template = string.Template(text)
    return template.substitute({**dict.fromkeys(template.get_identifiers(), ""), **values})


def pairs(value: str) -> dict[str, str]:
    """What ENV, LABEL or ARG sets; an ARG without a value sets nothing."""
    return dict(word.split("=", 1) for word in shlex.split(value) if "=" in word)


def read() -> tuple[dict[str, str], dict[str, Stage]]:
    """The arguments before the first stage, with their defaults, and the stages by name."""
    steps = [
        Step(each["instruction"], each["value"])
        for each in DockerfileParser(str(DOCKERFILE)).structure
        if each["instruction"] != "COMMENT"
    ]
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    current: list[Step] | None = None
    for step in steps:
        if step.instruction == "FROM":
            image, _, name = step.value.partition(" AS ")
            current = []
            stages[name] = Stage(filled(image, arguments), current)
        elif current is None:
            arguments |= pairs(step.value)
        else:
            current.append(step)
    return arguments, stages


def lineage(target: str) -> tuple[str, list[Step]]:
    """The image that a target is built on in the end, and all steps from there to it, a FROM before each stage."""
    _, stages = read()
    steps: list[Step] = []
    while target in stages:
        steps = [Step("FROM", target), *stages[target].steps, *steps]
        target = stages[target].base
    return target, steps


def ignored() -> list[str]:
    """The patterns of Dockerfile.dockerignore."""
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def context() -> set[str]:
    """The paths of the checkout that a builder gets."""
    return exclude_paths(str(ROOT), ignored())
