"""A disk for temporary files that is full, or not there, while the output has room."""

from __future__ import annotations

import os
import subprocess
import tempfile

import pytest

from transforms.dataset.schema import dead_letter_row
from transforms.records import DeadLetter, MediaFile
from transforms.storage.scratch import ScratchError, scratch_folder
from transforms.work.store import WorkStore
from transforms.write_dataset import ShardWriter


@pytest.fixture
def full_disk(tmp_path):
    """A folder with room for 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("NOT TESTED: only root can mount a small disk, and not everywhere")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_table_that_does_not_fit_says_where_there_is_no_room(full_disk, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(full_disk))
    work = WorkStore(str(tmp_path / "out"), "asr", "saved")
    media = MediaFile("1" * 32, "a.mp4", "/in/a.mp4", "v1", name="a")
    told = f"no room for temporary files in {full_disk}: set TMPDIR to a folder with room"
    with pytest.raises(ScratchError, match=told), ShardWriter(work, 0, 1) as writer:
        for _ in range(30_000):
            letter = DeadLetter(media, "DecodeAudio", "not_media", "fetch it again", os.urandom(20).hex())
            writer.add("dead_letters", [dead_letter_row(letter)])
    assert not (tmp_path / "out" / "dead_letters").exists()


def test_no_place_at_all_is_told_with_what_to_set(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(ScratchError, match=r"No usable temporary directory found in \['/nowhere'\]: set TMPDIR"):
        scratch_folder()
