"""Sets the module search path, before this package imports anything else.

`python -m` puts the current folder first. A module of the user's own there, such as `ffmpeg.py` or `transforms.py`,
would be taken for the package of that name.
"""

from __future__ import annotations

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def is_the_command() -> bool:
    """Whether this process was started for this package alone, rather than by a program that imports it."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return module.partition(".")[0] == "beam_pipeline" or pathlib.PurePath(sys.argv[0]).stem == "beam-pipeline"


if is_the_command():
    sys.path.insert(0, str(ROOT))
    from runners.processes import search_path  # ours, since that place came first

    del sys.path[0]
    sys.path[:] = search_path()
