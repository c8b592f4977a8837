"""A user of whom the system knows nothing, without a home that can be written, and a TMPDIR that is gone or full."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from tests.cases.conftest import CaseRun
from tests.shell import shell

TEXT = "राम आज बाज़ार जाएगा।"
DEAD_LETTERS = 3
STRANGER = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
# Where Python lies in a home of root's: in a room of its own, in which that home can be entered.
OPENED = """
mount --bind "$1" "$2" && mount -t tmpfs -o mode=755 tmpfs "$3" && mkdir -p "$1" && mount --bind "$2" "$1" || exit 99
shift 3; exec "$@"
"""


@pytest.fixture(scope="module")
def stranger():
    """What a command is wrapped in to be run by user 12345."""
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("NOT TESTED: only root can become another user, with setpriv")
    python = pathlib.Path(sys.executable).resolve().parents[1]
    closed = [folder for folder in reversed(python.parents) if not folder.stat().st_mode & 0o001]
    with tempfile.TemporaryDirectory() as room:
        opened = ["unshare", "-m", "bash", "-c", OPENED, "-", str(python), room, str(closed[0])] if closed else []
        wrapped = [*opened, *STRANGER]
        done = subprocess.run([*wrapped, sys.executable, "-c", "import torch"], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"NOT TESTED: user 12345 cannot run {sys.executable}: {done.stderr[-200:]}")
        yield wrapped


@pytest.fixture(scope="module")
def folder(made):
    """The case's folder where anybody can go; pytest's are its user's alone."""
    with tempfile.TemporaryDirectory() as place:
        pathlib.Path(place).chmod(0o755)
        target = shutil.copytree(made("12-users-and-folders"), pathlib.Path(place, "case"))
        target.chmod(0o755)
        yield target


@contextlib.contextmanager
def seen(folder):
    """The names that are new in a folder when the block has ended."""
    before, new = set(folder.iterdir()), set()
    yield new
    new |= {path.name for path in set(folder.iterdir()) - before}


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("no-home", {"HOME": None, "TMPDIR": "/no/such/folder"}),
        ("read-only-home", {"HOME": "../rohome", "TMPDIR": None}),
    ],
)
def test_any_user_gets_what_he_may_read(folder, stranger, name, variables):
    place = folder / "out-any"
    nobody = {"USER": None, "LOGNAME": None, **variables}
    with seen(place) as new:
        line = f'"$PYTHON" -m beam_pipeline --input ../in --output {name} --model demo'
        done = shell(place, line, stranger, **nobody)
    assert (done.returncode, "Traceback" in done.stderr) == (DEAD_LETTERS, False), done.stderr
    ran = CaseRun(done.returncode, done.stderr, place / name)
    assert {id: row["transcription"] for id, row in ran.rows().items()} == {"talk.mp3": TEXT}
    assert {id: row["code"] for id, row in ran.rows("dead_letters").items()} == {"locked.mp3": "unreadable"}
    assert new == {name}  # and no "~" for want of a home
    assert list((folder / "rohome").iterdir()) == []


@pytest.mark.parametrize(
    ("home", "told"),
    [
        (None, "there is no home folder to keep the model org/model in: set HF_HOME to a folder for it"),
        ("/rohome", "the model org/model cannot be kept: "),
    ],
)
def test_a_model_of_the_hub_needs_a_place(folder, stranger, home, told):
    code = "from transforms.engines.catalog import fetch_config; fetch_config('org/model', 'main')"
    nobody = {"HOME": home and f"{folder}{home}", "USER": None, "XDG_CACHE_HOME": None, "HF_HOME": None}
    done = shell(folder / "out-any", f'"$PYTHON" -c "{code}"', stranger, **nobody, HF_HUB_OFFLINE="0")
    last = done.stderr.splitlines()[-1]
    assert "ModelError" in last
    assert told in last or (home and "the hub cannot be reached" in last)


def test_a_tiny_folder_for_temporary_files_is_named(folder, tmp_path):
    if os.getuid():
        pytest.skip("NOT TESTED: only root can mount a small disk")
    tiny = tmp_path / "tiny"
    tiny.mkdir()
    job = f'"$PYTHON" -m beam_pipeline --input in --output {tmp_path}/out --model demo'
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(tiny)], capture_output=True)
    if mounted.returncode:
        pytest.skip("NOT TESTED: no small disk can be mounted here")
    try:
        done = shell(folder, job, TMPDIR=str(tiny))
    finally:
        subprocess.run(["umount", "-l", str(tiny)], check=True)
    assert done.returncode == 1
    assert f"no room for temporary files in {tiny}: set TMPDIR to a folder with room" in done.stderr
    assert "Traceback" not in done.stderr
