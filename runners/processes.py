"""Python processes beside this one, which find the modules that are found here."""

from __future__ import annotations

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]  # where our packages lie


def search_path() -> list[str]:
    """Where modules are looked for, without the current folder, unless our packages lie in it."""
    try:
        here = pathlib.Path.cwd()
    except FileNotFoundError:  # it was deleted
        return list(sys.path)
    return [path for path in sys.path if here == ROOT or pathlib.Path(path).resolve() != here]


def command(module: str, *words: str) -> list[str]:
    """What starts a module; it needs the variables of `environment` beside those that are set here."""
    return [sys.executable, "-P", "-m", module, *words]


def environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(path or str(ROOT) for path in search_path())}
