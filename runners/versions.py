"""What of the installed software has to be the same where a job is submitted and where it runs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
import shutil
import sys
from collections.abc import Iterable

PACKAGES = ("apache-beam", "beam-pipeline")
# As docs/containers.md builds them.
TAG = re.compile(r":(?P<package>[\w.]+)-beam(?P<beam>[\w.]+)-py(?P<python>[\d.]+)(-gpu)?$")


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


def unlike(theirs: dict[str, str]) -> str:
    """What differs here from what the submitting side says of itself, or ""."""
    ours = versions()
    return ", ".join(
        f"{name} {ours.get(name, 'is missing')} instead of {wanted}"
        for name, wanted in sorted(theirs.items())
        if ours.get(name, "") != wanted
    )


def missing() -> str:
    """What a worker lacks, with how to get it, or ""."""
    if not importlib.util.find_spec("transforms"):
        return "the package beam-pipeline is not installed: pip install it into the environment of the workers"
    if not shutil.which("ffmpeg") and not importlib.util.find_spec("imageio_ffmpeg"):
        return "there is no ffmpeg: install it, or `pip install imageio-ffmpeg`, which ships one"
    return ""


def unlike_image(image: str) -> str:
    """What a container image has other than here, as its tag says it, or "". A tag of another form says nothing."""
    told = TAG.search(image)
    if not told:
        return ""
    here = versions()
    theirs = {"beam-pipeline": told["package"], "apache-beam": told["beam"], "python": told["python"]}
    differ = {name: version for name, version in theirs.items() if version != here.get(name)}
    return ", ".join(f"{name} {version} instead of {here.get(name)}" for name, version in sorted(differ.items()))
