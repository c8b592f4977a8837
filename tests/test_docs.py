"""What the documentation says is true: commands run, generated pages are fresh, links lead somewhere."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from beam_pipeline.parser import parse
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
RUN_PAGES = ["README.md", "docs/python.md"]  # every block of theirs that is not marked otherwise is run
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
BEHIND = "--- behind a block ---"
SAMPLE_RUN = "python -m beam_pipeline --input examples/media --output out --model demo --translate_to en\n"


def blocks(page):
    """The blocks of a page: how each is marked, its language, its text."""
    return re.findall(r"(?:<!-- (.*?) -->\n)?```(\w+)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.fixture
def checkout(tmp_path, sample_run):
    """A folder that looks to a command like the checkout after `script/run`."""
    for name in ("examples", "script"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "out").symlink_to(sample_run)
    return tmp_path


@pytest.mark.parametrize("page", RUN_PAGES)
def test_every_block_says_whether_it_is_run_here(page):
    unmarked = [text for mark, language, text in blocks(page) if language in ("sh", "python") and not mark]
    assert unmarked == []


def test_the_first_lines_are_the_two_commands():
    first = README.split("```")[1]
    assert first.split("\n")[1:3] == [
        "script/run      # sets everything up, then transcribes and translates the sample media into out/",
        "script/test     # sets everything up, then runs the tests that every change should pass",
    ]


def test_script_run_calls_what_the_readme_says():
    assert SAMPLE_RUN in [text for _, _, text in blocks("README.md")]
    flags = SAMPLE_RUN.split("beam_pipeline ")[1].strip()
    assert f"set -- {flags}\n" in (ROOT / "script" / "run").read_text()


def run(command, folder):
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.long(60)
@pytest.mark.parametrize("page", RUN_PAGES)
def test_the_python_of_a_page_prints_what_the_page_shows(page, checkout):
    """Its blocks are one program, from top to bottom; what a block prints is in the one of text behind it."""
    found = [*blocks(page), ("", "", "")]
    python = [at for at, (mark, language, _) in enumerate(found) if (mark, language) == ("run", "python")]
    assert python
    done = run([sys.executable, "-c", "".join(f"{found[at][2]}\nprint({BEHIND!r})\n" for at in python)], checkout)
    shown = [found[at + 1][2] if found[at + 1][1] == "text" else "" for at in python]
    assert done.stdout == "".join(f"{text}{BEHIND}\n" for text in shown), done.stderr


def test_the_shell_of_the_readme_works(checkout):
    if not shutil.which("ffmpeg"):
        pytest.skip("NOT TESTED: no ffmpeg on PATH for the README's ffmpeg command")
    for mark, language, text in blocks("README.md"):
        if (mark, language) == ("run", "sh") and "beam_pipeline" not in text and "script/" not in text:
            done = run(["sh", "-e", "-c", text], checkout)
            assert done.returncode == 0, done.stderr
    assert (checkout / "frame.png").stat().st_size > 1000


def commands(page, module):
    """The words behind `python -m MODULE` in each command of a page."""
    shell = [text.replace("\\\n", " ") for _, language, text in blocks(page) if language == "sh"]
    lines = [line for text in shell for line in text.splitlines() if f"-m {module} " in line]
    return [shlex.split(line.partition("#")[0].partition(f"-m {module} ")[2].rstrip(" &")) for line in lines]


@pytest.mark.parametrize("page", PAGES)
def test_the_flags_of_commands_that_need_more_than_this_machine_exist(page):
    for words in commands(page, "beam_pipeline"):
        flags, _ = parse(words)  # ends the process where one does not
        assert flags.input
        assert flags.output


def test_commands_are_found_on_the_pages_of_the_runners():
    assert all(commands(f"docs/{page}.md", "beam_pipeline") for page in ("direct", "flink", "dataflow"))


def test_the_generated_pages_are_fresh():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    check = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout


def test_the_table_of_scaling_is_what_its_script_works_out():
    script = [sys.executable, str(ROOT / "benchmarks" / "scaling.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert f"```text\n{done.stdout}```" in (ROOT / "docs" / "scaling.md").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_there(page):
    text = (ROOT / page).read_text()
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    missing = [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]
    assert missing == []
