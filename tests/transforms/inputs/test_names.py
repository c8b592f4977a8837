"""No id of a media leads its files out of the output, or into each other's way."""

from __future__ import annotations

import os

import pytest

from transforms.inputs.names import file_name


@pytest.mark.parametrize(
    ("media", "name"),
    [
        ("talk.mp3", "talk"),
        ("a/b.c.MP4", "a/b.c"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/x.mp3", "etc/x"),
        ("a/./../b//c.mp3", "a/b/c"),
        ("..\\..\\windows\\a.mp3", "windows/a"),
        ("a\x00b\nc\x7f.mp3", "a_b_c_"),
        ('a<>:"|?*.mp3', "a_______"),
        ("C:/x.mp3", "C_/x"),
        ("no suffix", "no suffix"),
        ("clip.v2", "clip.v2"),
        ("mp3", "mp3"),
        ("आवाज़.opus", "आवाज़"),
        ("https://host/a b.mp3", "https_/host/a b"),
        ("", "media"),
        ("../..", "media"),
    ],
)
def test_a_file_name_is_relative_and_safe(media, name):
    assert file_name(media) == name


@pytest.mark.parametrize(
    "media",
    ["x" * 300 + ".mp3", "न" * 300 + ".mp3", "x" * 300 + "/" + "y" * 300, os.fsdecode(b"\xe9" * 140 + b".mp3")],
    ids=["ascii", "devanagari", "folder", "no_utf8"],
)
def test_no_part_of_a_file_name_is_too_long_to_take_suffixes(media):
    name = file_name(media)
    assert all(len(part.encode()) <= 200 for part in name.split("/"))


def test_long_names_that_start_alike_stay_different():
    assert file_name("x" * 300 + "1.mp3") != file_name("x" * 300 + "2.mp3")
