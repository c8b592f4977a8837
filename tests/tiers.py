"""Two tiers of tests: `script/test` leaves those out that are marked `long` and says so, `script/test all` runs all.

    @pytest.mark.long(90)  # about how many seconds all take that are marked by it

The files whose long tests take longest begin first, so that no worker is left with one of them at the end.
"""

from __future__ import annotations

import collections
import pathlib
from typing import Any

import pytest

LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out the tests that are marked long, and say so")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long(seconds): takes long, or needs servers: left out by `script/test`")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("quick"):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.stash[LEFT_OUT] = len(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]
        return
    marks = {(item.path, id(mark)): mark.args[0] for item in items for mark in item.iter_markers("long")}
    seconds: collections.Counter[pathlib.Path] = collections.Counter()
    for (path, _), of_mark in marks.items():
        seconds[path] += of_mark
    items.sort(key=lambda item: -seconds[item.path])  # stable: what is equal stays in its order


def pytest_sessionfinish(session: pytest.Session) -> None:
    # a worker of xdist: only what it gives here reaches the terminal
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"left out: {left_out} long tests (every store, damage and kill, servers, clusters): script/test all",
            yellow=True,
        )
