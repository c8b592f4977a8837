"""A blank and an apostrophe in the paths of Python and of the media, and worker processes that Beam starts."""

from __future__ import annotations

import sys

from tests.cases.conftest import CaseRun
from tests.shell import shell

TEXT = "राम आज बाज़ार जाएगा।"


def test_worker_processes_start_from_any_path(made, tmp_path):
    folder = made("24-space-in-path", sys.prefix)
    workers = "--direct_running_mode=multi_processing --direct_num_workers=2"
    line = f'"{folder}/my venv/bin/python" -m beam_pipeline --input . --output {tmp_path}/out --model demo {workers}'
    done = shell(folder / "Ravi's talks", line)
    assert done.returncode == 0, done.stderr
    rows = CaseRun(done.returncode, done.stderr, tmp_path / "out").rows()
    assert {id: row["transcription"] for id, row in rows.items()} == {"talk.wav": TEXT, "talk2.wav": TEXT}
