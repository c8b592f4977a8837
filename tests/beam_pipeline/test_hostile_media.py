"""One run over all that can be wrong with a recording: each comes to its known end, and the good ones are as ever."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
from typing import Any, NamedTuple

import jiwer
import psutil
import pytest

from benchmarks.fuzz import OF_LIBRARIES
from tests import hostile
from tests.conftest import SAMPLES, media_of
from tests.hostile import CASES, OTHER, PLAIN
from tests.runs import files, run, table, timeless, transcripts
from transforms.dead_letters import CODES, PROBLEMS, RETRYABLE
from transforms.decode_audio import DecodeConfig, decode
from transforms.records import MediaChunk

pytestmark = pytest.mark.long(100)

DONE, FAILED, DEAD_LETTERS = 0, 1, 3
UNLISTED = ["list.m3u8", "loop.mp3"]  # what a folder's listing leaves out has to be named
# how long a decoder may be silent here: far more than one needs, even on a busy machine
SEVERAL_S = 20


class Ran(NamedTuple):
    """What the run over all of them left behind."""

    code: int
    said: str
    folder: pathlib.Path  # of the recording files
    output: pathlib.Path
    rows: dict[str, dict[str, Any]]
    letters: dict[str, dict[str, Any]]
    temporary: list[str]
    processes: list[str]
    asked: bool  # whether anybody called the server that some media name


def processes_of(folder: pathlib.Path) -> list[str]:
    """What runs with this folder in its environment, whoever its parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.environ().get("PATH", ""):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def was_called(server: socket.socket) -> bool:
    server.setblocking(False)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> Ran:
    base = tmp_path_factory.mktemp("hostile")
    folder, output, temporary = base / "in", base / "out", base / "tmp"
    temporary.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        hostile.make_good(folder)
        hostile.make_hostile(folder, f"http://127.0.0.1:{server.getsockname()[1]}")
        hostile.make_decoder(base / "bin", folder)
        environment = {"PATH": f"{base / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(temporary)}
        inputs = [folder, *(folder / name for name in UNLISTED)]
        flags = ["--model", "demo", "--decode_timeout_s", SEVERAL_S]
        ran = run("--input", *inputs, "--output", output, *flags, env=environment, timeout=600)
        asked = was_called(server)
    # What was named and is not there has the name that it was given.
    letters = {row["id"].removeprefix(f"{folder}/"): row for row in table(output, "dead_letters")}
    left = (
        [path.name for path in temporary.iterdir() if not path.name.startswith(OF_LIBRARIES)],
        processes_of(base / "bin"),
    )
    return Ran(ran.code, ran.said, folder, output, transcripts(output), letters, *left, asked)


@pytest.fixture(scope="module")
def alone(everything, tmp_path_factory) -> pathlib.Path:
    """The output of a run over the good media alone."""
    output = tmp_path_factory.mktemp("alone") / "out"
    good = [everything.folder / PLAIN, everything.folder / OTHER]
    assert run("--input", *good, "--output", output, "--model", "demo").code == DONE
    return output


def known_as(name: str) -> str:
    """The id of a recording; a byte that is no UTF-8 is written out in it."""
    return name.encode("utf-8", "backslashreplace").decode()


def readable(name: str) -> str:
    return ascii(name)[1:-1][:40]


def expected(code: bool) -> list[str]:
    return [name for name, (_, outcome) in CASES.items() if bool(outcome.code) == code]


def test_every_recording_is_a_transcript_or_a_dead_letter_and_none_is_both(everything):
    named = {known_as(name) for name in (*CASES, PLAIN, OTHER)}
    assert everything.code == DEAD_LETTERS
    assert set(everything.rows) | set(everything.letters) == named
    assert not set(everything.rows) & set(everything.letters)


@pytest.mark.parametrize("name", expected(code=True), ids=readable)
def test_what_cannot_be_done_is_one_letter_that_says_why_and_what_to_do(everything, name):
    letter, code = everything.letters[known_as(name)], CASES[name][1].code
    assert (letter["code"], letter["message"], letter["retryable"]) == (code, CODES[code], code in RETRYABLE)


@pytest.mark.parametrize("name", expected(code=False), ids=readable)
def test_what_can_be_heard_is_there_with_its_length_and_its_place(everything, name):
    row, plain, outcome = everything.rows[known_as(name)], everything.rows[PLAIN], CASES[name][1]
    assert row["status"] == outcome.status
    assert row["duration_sec"] == pytest.approx(outcome.duration_s, abs=outcome.within_s)
    assert row["coverage"] == pytest.approx(outcome.coverage, abs=0.1)
    assert bool(row["problems"]) == (outcome.status == "partial")
    assert {problem["code"] for problem in row["problems"]} <= set(PROBLEMS)
    words = plain["transcription"].split() * outcome.times
    if not words:
        assert row["transcription"] == ""
    elif outcome.heard < 1:
        first = words[: int(len(words) * outcome.heard)]
        assert row["transcription"].split()[: len(first)] == first
    else:
        assert jiwer.wer(" ".join(words), row["transcription"]) <= outcome.word_error
        later_s = row["segments"][0]["start"] - plain["segments"][0]["start"]
        assert later_s == pytest.approx(outcome.later_s, abs=0.2)


def test_the_good_ones_come_out_as_if_they_were_alone(everything, alone):
    for name, row in transcripts(alone).items():
        assert everything.rows[name] == row
    beside = timeless(files(everything.output))
    for name, content in timeless(files(alone)).items():
        assert beside[name] == content


def test_nothing_that_a_recording_points_at_is_opened(everything):
    assert not everything.asked
    everywhere = [everything.said.encode(), *files(everything.output).values()]
    everywhere += [str(row).encode() for row in everything.letters.values()]
    account = pathlib.Path("/etc/passwd").read_bytes().splitlines()[0]
    assert not [content for content in everywhere if account in content]


def test_no_process_and_no_temporary_file_is_left(everything):
    assert everything.processes == []
    assert everything.temporary == []
    assert list(everything.output.rglob(".tmp-*")) == []


def test_a_letter_says_the_same_in_every_run(everything, tmp_path):
    names = ["header alone.wav", "mute.mkv", "page.mp4", "concat.mp4", "no index.mp4"]
    run("--input", *(everything.folder / name for name in names), "--output", tmp_path / "out", "--model", "demo")
    again = {row["id"]: row["detail"] for row in table(tmp_path / "out", "dead_letters")}
    assert again == {name: everything.letters[name]["detail"] for name in names}


def test_an_interrupt_from_the_terminal_does_not_reach_the_decoders(children):
    """They would end as if the recording did, and half a transcript would be taken for the whole one."""
    windows = decode(MediaChunk(media_of(SAMPLES / "five minutes.opus")), DecodeConfig())
    next(windows)
    [decoder] = children()
    assert os.getpgid(decoder.pid) != os.getpgid(0)
    windows.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    (place := tmp_path / "disk").mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]).returncode:
        pytest.skip("NOT TESTED: only root can mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def published(output: pathlib.Path) -> Any:
    """The dataset and the files, without the figures of time."""
    return transcripts(output), timeless(files(output))


@pytest.mark.parametrize("room_kb", [40, 80])
def test_a_full_disk_fails_the_run_and_with_room_it_goes_on_to_the_same_end(everything, alone, small_disk, room_kb):
    good = [everything.folder / PLAIN, everything.folder / OTHER]
    flags = ["--input", *good, "--output", small_disk / "out", "--model", "demo"]
    (ballast := small_disk / "ballast").write_bytes(bytes((1024 - room_kb) << 10))
    ran = run(*flags)
    assert ran.code == FAILED
    assert "No space left on device" in ran.said
    ballast.unlink()
    assert list(small_disk.rglob(".tmp-*")) == []
    assert run(*flags).code == DONE
    assert published(small_disk / "out") == published(alone)
