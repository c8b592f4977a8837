from __future__ import annotations

import os
import pathlib
import sys

from runners import processes


def test_the_current_folder_is_no_place_for_modules(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/elsewhere", str(processes.ROOT)])
    assert processes.search_path() == ["/elsewhere", str(processes.ROOT)]
    assert processes.environment() == {"PYTHONPATH": os.pathsep.join(["/elsewhere", str(processes.ROOT)])}


def test_a_checkout_is_found_from_where_it_lies(monkeypatch):
    monkeypatch.chdir(processes.ROOT)
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    assert processes.environment() == {"PYTHONPATH": os.pathsep.join([str(processes.ROOT), "/elsewhere"])}


def test_a_folder_that_was_deleted_changes_nothing(monkeypatch):
    def gone() -> pathlib.Path:
        raise FileNotFoundError

    monkeypatch.setattr(pathlib.Path, "cwd", gone)
    assert processes.search_path() == sys.path
