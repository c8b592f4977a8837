"""What `status` and `failures` tell of an output, while a run is under way, after a kill, and at its end."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from beam_pipeline import failures, status
from tests.conftest import ROOT, SAMPLES
from tests.runs import files, letters, run, transcripts

DONE, FAILED, USAGE, DEAD_LETTERS, KILLED = 0, 1, 2, 3, -9
GOOD, BAD, MANY = 3, 5, 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three good media, four of noise and an empty one."""
    folder = tmp_path_factory.mktemp("media")
    for number in range(GOOD):
        shutil.copy(SAMPLES / "village.opus", folder / f"good {number}.opus")
    for number in range(BAD - 1):
        (folder / f"noise {number}.mp3").write_bytes(bytes(range(256)) * 8)
    (folder / "empty.wav").touch()
    return folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "out"
    ended = run("--input", folder, "--output", output, "--model", "demo", "--formats", "json")
    assert ended.code == DEAD_LETTERS, ended.said
    return output


def printed(capsys, command, output, *words):
    assert command.main(["--output", str(output), *words]) == DONE
    return capsys.readouterr().out


def test_status_failures_and_the_dataset_agree(finished, capsys):
    found = json.loads(printed(capsys, status, finished, "--json"))
    assert (found["state"], found["exit_code"]) == ("finished", DEAD_LETTERS)
    assert (found["media"], found["done"], found["failed"], found["left"]) == (GOOD + BAD, GOOD, BAD, 0)
    assert (len(transcripts(finished)), len(letters(finished))) == (GOOD, BAD)
    assert found["summary"] == json.loads((finished / "summary.json").read_text())
    assert (found["summary"]["transcripts"], found["summary"]["dead_letters"]) == (GOOD, BAD)
    listed = json.loads(printed(capsys, failures, finished, "--json"))
    assert listed["media"] == GOOD + BAD
    assert {letter["media"]["id"]: letter["code"] for letter in listed["failures"]} == letters(finished)


def test_failures_are_counted_by_code_with_examples_and_a_command_that_works(finished, folder, capsys, tmp_path):
    text = printed(capsys, failures, finished)
    assert text.startswith(f"{BAD} of {GOOD + BAD} media failed in {finished}\n")
    assert text.index("4 not_media: ffmpeg finds no audio") < text.index("1 empty_file: The file has no bytes.")
    assert "    noise 0.mp3" in text
    assert "    and 1 more" in text
    command = shlex.split(text.splitlines()[-1])
    assert command[:3] == ["python", "-m", "beam_pipeline"]
    again = run(*command[3:])
    assert again.code == DEAD_LETTERS, again.said
    counted = json.loads((finished / "run.json").read_text())["counters"]
    assert counted["decode.failed"] == BAD
    assert "decode.media" not in counted


def test_no_name_commands_the_terminal(tmp_path, capsys):
    folder, out = tmp_path / "in\x1b[2J", tmp_path / "out"
    folder.mkdir()
    for name in ("a\x1b]0;b\x07.mp3", "c\n0 of 0 media failed.mp3", "\u202egpj.mp3", "caf\udce9.mp3"):
        (folder / name).write_bytes(bytes(range(256)) * 8)
    words = ["--input", folder, "--output", out, "--model", "demo"]
    dry, ended = run(*words, "--dry_run"), run(*words, "--log_level", "DEBUG")
    assert (dry.code, ended.code) == (DONE, DEAD_LETTERS), ended.said
    texts = [printed(capsys, failures, out), printed(capsys, status, out), printed(capsys, failures, out, "--json")]
    for text in (dry.said, ended.said, *texts):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)
    assert len(dry.said.splitlines()) == 5
    shown = {line.strip().split(": ")[0] for line in texts[0].splitlines() if line.startswith("    ")}
    assert shown <= {
        "a\\x1b]0;b\\x07.mp3",
        "c\\n0 of 0 media failed.mp3",
        "\\u202egpj.mp3",
        "caf\\xe9.mp3",
        "and 1 more",
    }
    assert run(*command_in(texts[0])).code == DEAD_LETTERS
    assert json.loads((out / "run.json").read_text())["counters"]["decode.failed"] == 4


def command_in(text):
    """The words behind `python -m beam_pipeline` of the last line, as bash reads them."""
    command = text.splitlines()[-1].replace("python -m beam_pipeline", "printf '%s\\0'", 1)
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


def test_a_run_that_was_killed_is_told_from_one_that_lives(folder, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--input", folder, "--output", out, "--model", "demo", "--formats", "json"]
    # Each recording is noted before it is written and behind it, and the first note is removed.
    assert run(*flags, "--decode_ahead", 1, stop_after=6, of="_work/saved").code == KILLED
    found = json.loads(printed(capsys, status, out, "--json"))
    assert (found["state"], found["summary"]) == ("stopped", None)
    assert found["media"] == GOOD + BAD == found["done"] + found["failed"] + found["left"]
    done = sum(path.stem != "unfinished" for path in (out / "_work" / "saved").rglob("*.json"))
    assert found["done"] == done
    # media are saved side by side: another may have its files, or more, already
    assert 1 <= done <= len(files(out))
    assert "the same command goes on where it was" in printed(capsys, status, out)


@pytest.mark.long(30)
def test_a_run_is_watched_from_its_output_alone_while_it_runs(tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(MANY):
        shutil.copy(SAMPLES / "market.mp4", folder / f"{number}.mp4")
    command = [sys.executable, "-m", "beam_pipeline", "--input", str(folder), "--output", str(out)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen([*command, "--model", "demo", "--batch_size", "1"], cwd=ROOT, **quiet)
    try:
        states = list(_watched(out, running, capsys))
    finally:
        running.kill()
        running.wait()
    assert states[0]["state"] == "running"
    assert states[0]["process"] == running.pid
    assert all(each["media"] in (0, MANY) and each["media"] == each["done"] + each["left"] for each in states)
    assert any(0 < each["done"] < MANY and each["seconds_left"] is not None for each in states)
    assert (states[-1]["state"], states[-1]["done"], states[-1]["left"]) == ("finished", MANY, 0)
    assert f"{MANY} media: {MANY} done, 0 failed, 0 left" in printed(capsys, status, out, "--watch")


def _watched(out, running, capsys):
    """What status tells until the run has ended."""
    _until((out / "run.json").exists, running)
    until = time.monotonic() + 300
    while time.monotonic() < until:
        yield (found := json.loads(printed(capsys, status, out, "--json")))
        if found["state"] != "running":
            return


@pytest.mark.parametrize("command", [status, failures])
def test_a_place_without_a_run_says_so(command, tmp_path, capsys):
    assert command.main(["--output", str(tmp_path)]) == USAGE
    assert capsys.readouterr().err == f"error: no run has written to {tmp_path}: there is no run.json\n"


@pytest.mark.parametrize(("most", "code"), [("1", FAILED), ("0.2", FAILED), ("0", FAILED), ("5", DEAD_LETTERS)])
def test_more_failures_than_allowed_end_the_run(folder, tmp_path, most, code):
    out = tmp_path / "out"
    flags = ["--input", folder, "--output", out, "--model", "demo", "--formats", "json"]
    ended = run(*flags, "--max_failures", most)
    assert ended.code == code, ended.said
    assert ("media failed, more than --max_failures" in ended.said) == (code == FAILED)
    assert "Traceback" not in ended.said
    on = run(*flags)  # what was done before it stopped is not lost
    assert on.code == DEAD_LETTERS, on.said
    assert (len(transcripts(out)), len(letters(out))) == (GOOD, BAD)


@pytest.mark.long(17)
def test_a_second_run_on_the_same_output_leaves_with_a_message_and_the_first_ends_whole(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(12):
        shutil.copy(SAMPLES / "market.mp4", folder / f"{number}.mp4")
    flags = ["--input", str(folder), "--output", str(out), "--model", "demo"]
    first = subprocess.Popen(
        [sys.executable, "-m", "beam_pipeline", *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    _until(lambda: list(out.glob("_work/owner/*.json")), first)
    second = run(*flags)
    assert second.code == FAILED
    assert f"process {first.pid} on" in second.said
    assert "is writing to" in second.said
    assert first.wait(120) == DONE
    assert len(transcripts(out)) == 12


def _until(true, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)  # polls for a file of another process
