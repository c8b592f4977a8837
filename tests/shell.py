"""Lines of a shell, as users type them."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from tests.conftest import ROOT


def shell(
    folder: pathlib.Path, line: str, wrapped_in: Sequence[str] = (), timeout: float = 300, **variables: str | None
) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in a folder, with `$PYTHON` and this checkout; a variable that is None is not set."""
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        **variables,
    }
    given = {name: value for name, value in environment.items() if value is not None}
    command = [*wrapped_in, "bash", "-c", line]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", cwd=folder, env=given, timeout=timeout
    )
