"""What is printed never decides how a run ends: readers that go away, streams that are closed, consoles of old."""

from __future__ import annotations

import json

import pytest

from tests.conftest import SAMPLES
from tests.shell import shell

pytestmark = pytest.mark.long(20)

JOB = f'"$PYTHON" -m beam_pipeline --input {SAMPLES}/village.opus --model demo --output out'
PROGRAM = (
    "\"$PYTHON\" -c 'import sys; from beam_pipeline import terminal; terminal.configure_streams(); {}; sys.exit(3)'"
)


def codes(done) -> list[int]:
    """The exit codes of the parts of a pipe, which a line has printed last."""
    return [int(word) for word in done.stdout.splitlines()[-1].split()]


@pytest.mark.parametrize("closing", ["| true; echo ${PIPESTATUS[0]}", ">&- 2>&- <&-; echo $?"])
def test_a_run_that_nobody_listens_to_ends_as_it_would(tmp_path, closing):
    done = shell(tmp_path, f"{JOB} {closing}")
    assert codes(done) == [0], done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["exit_code"] == 0
    assert json.loads((tmp_path / "out" / "media" / "village.json").read_text())["transcription"]


@pytest.mark.parametrize("words", ["--help", "--dry_run", "--dry_run --json"])
def test_a_reader_who_has_seen_enough_is_no_failure(tmp_path, words):
    done = shell(tmp_path, f"{JOB} {words} | head -1; echo ${{PIPESTATUS[@]}}")
    assert codes(done) == [0, 0]
    assert done.stderr == ""


@pytest.mark.parametrize("how", ["print_status", "print_error"])
def test_news_that_cannot_be_printed_change_nothing(tmp_path, how):
    program = PROGRAM.format(f'[terminal.{how}("more than any pipe holds") for _ in range(20_000)]')
    for line in (f"{program} 2>&1 | head -1", f"{program} >/dev/full 2>/dev/full", f"{program} >&- 2>&-"):
        done = shell(tmp_path, f"{line}; echo ${{PIPESTATUS[0]}}")
        assert codes(done) == [3], line
        assert done.stderr == ""


def test_an_answer_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_is_none(tmp_path):
    program = PROGRAM.format('print(terminal.print_result("x" * 200_000), file=sys.stderr)')
    assert "No space left" in shell(tmp_path, f"{program} >/dev/full").stderr
    assert shell(tmp_path, f"{program} | true").stderr == "False\n"


def test_what_a_console_cannot_show_is_escaped(tmp_path):
    program = PROGRAM.format('terminal.print_status("caf\\udce9 \\u0930"); terminal.print_error("\\u0930")')
    done = shell(tmp_path, program, PYTHONIOENCODING="ascii")
    assert (done.stdout, done.stderr) == ("caf\\xe9 \\u0930\n", "\\u0930\n")
