"""The versions that must be equal where a job is submitted and where it runs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterable, Mapping

PACKAGES = ("apache-beam", "beam-pipeline")
# As docs/containers.md builds them.
TAG = re.compile(r":(?P<package>[\w.]+)-beam(?P<beam>[\w.]+)-py(?P<python>[\d.]+)(-(?P<variant>\w+))?$")


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed; a checkout need not be."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def versions() -> dict[str, str]:
    """Names and versions. What is pickled by one is unpickled by the other, so these must be equal."""
    return {"python": ".".join(map(str, sys.version_info[:2])), **installed(PACKAGES)}


def image_tag(has: Mapping[str, str], variant: str = "") -> str:
    """The name of the container image with these versions, as `versions()` gives them: docs/containers.md.

    `variant` is "" for the CPU's worker, "gpu", "submit" or "launcher".
    """
    tag = f"beam-pipeline:{has['beam-pipeline']}-beam{has['apache-beam']}-py{has['python']}"
    return f"{tag}-{variant}" if variant else tag


def mismatch(theirs: dict[str, str]) -> str:
    """The first version here that differs from the submitting side's, as text, or ""."""
    return _other(versions(), theirs)


def _other(has: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} {has.get(name, 'is missing')} instead of {version}"
        for name, version in sorted(wanted.items())
        if has.get(name, "") != version
    )


def missing() -> str:
    """What a worker lacks, with how to get it, or ""."""
    if not importlib.util.find_spec("transforms"):
        return "the package beam-pipeline is not installed: pip install it into the environment of the workers"
    if not shutil.which("ffmpeg") and not importlib.util.find_spec("imageio_ffmpeg"):
        return "there is no ffmpeg: install it, or `pip install imageio-ffmpeg`, which ships one"
    return ""


def image_mismatch(image: str) -> str:
    """What a container image has other than here, as its tag says it, or "". A tag of another form says nothing."""
    match = TAG.search(image)
    if not match:
        return ""
    if match["variant"] not in (None, "gpu"):
        return "no worker in it"
    has = {"beam-pipeline": match["package"], "apache-beam": match["beam"], "python": match["python"]}
    return _other(has, versions())
