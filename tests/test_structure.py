"""Which part may import which, and what a run must not need."""

from __future__ import annotations

import ast
import graphlib
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PARTS = {
    "beam_pipeline": {"beam_pipeline", "transforms", "runners"},
    "transforms": {"transforms"},
    "runners": {"runners"},
}
SOURCES = [path for part in PARTS for path in sorted((ROOT / part).rglob("*.py"))]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES}


def imports(path):
    """Every module that the file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_between_parts_point_one_way(path):
    part = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imports(path)} & set(PARTS)
    assert ours <= PARTS[part]


def imported_here(path):
    """Our modules that the file imports, also inside functions, but not for type checkers alone."""
    tree = ast.parse(path.read_text())
    checks = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    unseen = {inner for node in checks for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in unseen:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node not in unseen:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)


def circle_in(graph):
    """The names along one circle of the graph; none where it has none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_no_imports_go_in_a_circle():
    graph = {name: set(imported_here(path)) & MODULES.keys() - {name} for name, path in MODULES.items()}
    assert circle_in(graph) == []


def test_a_circle_would_be_found():
    assert set(circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_the_records_import_no_sibling():
    assert not [name for name in imports(ROOT / "transforms" / "records.py") if name.startswith("transforms")]


@pytest.mark.parametrize(
    ("library", "behind"),
    [
        ("onnxruntime", ["transforms/media/voice_activity.py"]),
        ("huggingface_hub", ["transforms/engines/"]),
        ("transformers", ["transforms/engines/"]),
    ],
)
def test_a_library_that_reports_home_is_imported_only_where_that_is_switched_off(library, behind):
    users = [
        str(path.relative_to(ROOT)) for path in SOURCES if library in {name.split(".")[0] for name in imports(path)}
    ]
    assert users
    assert [user for user in users if not user.startswith(tuple(behind))] == []


def python(code):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


BUILD_THE_GRAPH = (
    "from beam_pipeline.parser import parse\nfrom beam_pipeline.run.job import make_job\n"
    "from beam_pipeline.pipeline import build\n"
    f"flags, _ = parse(['--input', {str(ROOT)!r}, '--output', '/tmp/x', '--model', MODEL])\n"
    "build(beam.Pipeline('FnApiRunner'), make_job(flags))"
)


def test_building_the_graph_needs_neither_torch_nor_transformers():
    hide = "import sys\nsys.modules['torch'] = sys.modules['transformers'] = None\n"
    done = python(f"{hide}import apache_beam as beam\nMODEL = 'demo'\n{BUILD_THE_GRAPH}")
    assert done.returncode == 0, done.stderr


def test_nothing_reaches_for_a_network_on_import_or_while_the_graph_is_built():
    refuse = "import socket\ndef refuse(*a, **k): raise AssertionError('network')\n"
    cut_off = "import apache_beam as beam\nsocket.getaddrinfo = socket.create_connection = refuse\n"
    done = python(f"{refuse}{cut_off}MODEL = 'openai/whisper-large-v3'\n{BUILD_THE_GRAPH}")
    assert done.returncode == 0, done.stderr


def test_no_word_of_an_address_of_a_package_registry_stands_in_the_project():
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("NOT TESTED: not a git checkout, or no git")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    words = ("pypi" + ".org", "files.python" + "hosted", "download.pytorch" + ".org")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".sh", ""} and path.is_file():
            text = path.read_text(errors="replace")
            assert not [word for word in words if word in text], name
