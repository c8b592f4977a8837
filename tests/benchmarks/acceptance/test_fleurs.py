from __future__ import annotations

import io
import tarfile

import pytest

from benchmarks.acceptance import fleurs
from benchmarks.acceptance.fleurs import SetError, Utterance


def line(number, text="पानी है", samples=32_000):
    return "\t".join([str(number), f"{number}.wav", f"{text}।", text, "प ा |", str(samples), "FEMALE"])


def texts(folder, *lines):
    path = folder / "test.tsv"
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def archive(folder, contents):
    path = folder / "test.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"test/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_a_line_gives_the_normalised_text_and_the_length(tmp_path):
    path = texts(tmp_path, line(12, 'उसने "हाँ" कहा', 40_000), line(11))
    assert fleurs.read_utterances(path, "hi_in") == [
        Utterance("hi_in/11.wav", "hi", "पानी है", 2.0),
        Utterance("hi_in/12.wav", "hi", 'उसने "हाँ" कहा', 2.5),
    ]


@pytest.mark.parametrize("bad", ["not tabs", "\t".join("abcdefg"), f"{line(1)}\tmore"])
def test_a_line_that_is_not_the_sets_is_named(tmp_path, bad):
    with pytest.raises(SetError, match=r"test\.tsv, line 2: not a line of FLEURS"):
        fleurs.read_utterances(texts(tmp_path, line(1), bad), "hi_in")


def test_a_sample_is_the_same_for_a_seed_and_another_for_another():
    hindi = [Utterance(f"hi_in/{number:03}.wav", "hi", "", 1.0) for number in range(100)]
    first = fleurs.sample(hindi, 10, 1)
    assert first == fleurs.sample(hindi, 10, 1) == sorted(first)
    assert len(set(first)) == 10
    assert first != fleurs.sample(hindi, 10, 2)


@pytest.mark.parametrize("limit", [0, 3, 4])
def test_all_are_run_where_no_fewer_are_asked_for(limit):
    three = [Utterance(f"hi_in/{number}.wav", "hi", "", 1.0) for number in range(3)]
    assert fleurs.sample(three, limit, 1) == three


def test_the_audio_of_the_sample_alone_is_unpacked(tmp_path):
    path = archive(tmp_path, {"1.wav": b"one", "2.wav": b"two"})
    fleurs.unpack(path, [Utterance("hi_in/2.wav", "hi", "", 1.0)], tmp_path / "audio")
    found = {each.relative_to(tmp_path): each.read_bytes() for each in (tmp_path / "audio").rglob("*.*")}
    assert {str(name): content for name, content in found.items()} == {"audio/hi_in/2.wav": b"two"}


def test_audio_that_is_there_is_left_as_it_is_and_half_of_it_is_not(tmp_path):
    path = archive(tmp_path, {"1.wav": b"one", "2.wav": b"two"})
    both = [Utterance(f"hi_in/{number}.wav", "hi", "", 1.0) for number in (1, 2)]
    fleurs.unpack(path, both, tmp_path)
    whole, half = tmp_path / "hi_in" / "1.wav", tmp_path / "hi_in" / "2.wav"
    before = whole.stat()
    half.write_bytes(b"t")
    fleurs.unpack(path, both, tmp_path)
    assert whole.stat().st_mtime_ns == before.st_mtime_ns
    assert half.read_bytes() == b"two"


def test_audio_that_the_archive_lacks_is_named(tmp_path):
    path = archive(tmp_path, {"1.wav": b"one"})
    missing = [Utterance(f"hi_in/{number}.wav", "hi", "", 1.0) for number in (1, 2, 3)]
    with pytest.raises(SetError, match=r"has no 2\.wav: 2 recordings"):
        fleurs.unpack(path, missing, tmp_path)


def test_a_folder_without_the_sets_files_says_which_is_missing(tmp_path):
    with pytest.raises(SetError, match=r"has no data/en_us/test\.tsv"):
        fleurs.find(["en_us"], tmp_path)
