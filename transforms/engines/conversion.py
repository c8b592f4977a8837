"""Gives each engine a model in its own format: one in the other format is converted once a host, into a cache.

CTranslate2's own converter loads a whole checkpoint with torch: it runs in a process of its own, so that the one that
hears holds neither. `python -m transforms.engines.conversion MODEL REVISION FOLDER` is that process.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

from transforms.engines.catalog import ModelError, ModelFacts, fetch_config, is_config_of_ctranslate2
from transforms.engines.ctranslate2_file import ENGLISH_ONLY, WEIGHTS, write_transformers
from transforms.storage.secrets import redacted

LAYOUT = 1  # of what is converted here; another makes it anew
# of CTranslate2's files: vocabularies have had two formats
MAY_LACK = ("vocabulary.json", "vocabulary.txt", "generation_config.json")


def transformers_source(model: ModelFacts, revision: str) -> str:
    """The folder, or the id on the hub, that transformers loads the model by.

    Raises:
        ModelError: it cannot be had, or not be converted.
    """
    config = _config(model, revision)
    if not is_config_of_ctranslate2(config):
        return model.path
    folder = _ctranslate2_files(model, revision)
    return str(_converted(model, config, "transformers", lambda made: write_transformers(folder, made)))


def ctranslate2_folder(model: ModelFacts, revision: str) -> pathlib.Path:
    """The folder that CTranslate2 loads the model from.

    Raises:
        ModelError: it cannot be had, or not be converted.
    """
    config = _config(model, revision)
    if is_config_of_ctranslate2(config):
        return _ctranslate2_files(model, revision)
    return _converted(model, config, "ctranslate2", lambda made: _run_converter(model.path, revision, made))


def cache() -> pathlib.Path:
    """Where converted models are kept.

    Raises:
        ModelError: nobody knows of a place.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - raises nothing
    if base.startswith("~"):
        raise ModelError("there is no home folder to keep converted models in: set XDG_CACHE_HOME to a folder for it")
    return pathlib.Path(base, "beam_pipeline", "models")


def made_once(target: pathlib.Path, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """The target, made by `make` where it is not there: by one process, and whole or not at all."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                make(pathlib.Path(folder, "made"))
                pathlib.Path(folder, "made").rename(target)
    return target


def _converted(
    model: ModelFacts, config: pathlib.Path, to: str, convert: Callable[[pathlib.Path], None]
) -> pathlib.Path:
    # a folder of the hub's cache is named by its commit
    identity = model.identity if pathlib.Path(model.path).is_dir() else f"{model.source}@{config.parent.name}"
    target = cache() / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}-{to}-{LAYOUT}"
    try:
        return made_once(target, convert)
    except ValueError as error:
        raise ModelError(f"--model {model.name}: {error}") from error
    except OSError as error:
        raise ModelError(
            f"the model {model.name} cannot be converted into {target.parent}: {error}; "
            "set XDG_CACHE_HOME to a folder with room"
        ) from error


def _config(model: ModelFacts, revision: str) -> pathlib.Path:
    """The model's config.json on this machine."""
    if pathlib.Path(model.path).is_dir():
        return pathlib.Path(model.path, "config.json")
    from huggingface_hub import hf_hub_download

    fetch_config(model.path, revision)
    return pathlib.Path(hf_hub_download(model.path, "config.json", revision=revision, local_files_only=True))


def _ctranslate2_files(model: ModelFacts, revision: str) -> pathlib.Path:
    """The folder of a model in CTranslate2's format, fetched from the hub if it must be."""
    folder = pathlib.Path(model.path)
    if folder.is_dir():
        return folder
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for name in (WEIGHTS, "tokenizer.json", *MAY_LACK):
        try:
            folder = pathlib.Path(hf_hub_download(model.path, name, revision=revision)).parent
        except EntryNotFoundError as error:
            if name not in MAY_LACK:
                raise ModelError(f"the model {model.name} has no {name} on the hub") from error
        except OSError as error:
            raise ModelError(f"cannot fetch the model {model.name}: {redacted(error)}") from error
    return folder


def _run_converter(source: str, revision: str, target: pathlib.Path) -> None:
    """Raises ValueError with the converter's last line where it fails."""
    command = [sys.executable, "-m", "transforms.engines.conversion", source, revision, str(target)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "it was killed").splitlines()[-1]
        raise ValueError(f"it cannot be converted for CTranslate2: {redacted(last)}")


def write_ctranslate2(source: str, revision: str, target: pathlib.Path) -> None:
    """Write a checkpoint of transformers', by its folder or its id on the hub, into a new folder in CTranslate2's
    format and as precise.
    """
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoTokenizer, WhisperForConditionalGeneration

    with tempfile.TemporaryDirectory() as folder:
        AutoTokenizer.from_pretrained(source, revision=revision).save_pretrained(folder)
        place = pathlib.Path(source)
        if not place.is_dir():  # the converter takes a revision for the weights alone
            place = pathlib.Path(folder)
            WhisperForConditionalGeneration.from_pretrained(source, revision=revision, dtype="auto").save_pretrained(
                place
            )
        config = json.loads((place / "config.json").read_text())
        dtype = config.get("dtype") or config.get("torch_dtype")
        TransformersConverter(str(place)).convert(str(target), quantization=dtype)
        for name in ("tokenizer.json", "generation_config.json"):
            found = next((each / name for each in (place, pathlib.Path(folder)) if (each / name).is_file()), None)
            if found:
                shutil.copy(found, target)
    _mark_multilingual(target)


def _mark_multilingual(folder: pathlib.Path) -> None:
    """CTranslate2 tells languages only where an empty word is in the vocabulary, as in that of OpenAI's multilingual
    checkpoints. Another vocabulary is given one, in place of the first word: what a token says is read elsewhere.
    """
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    if "" not in vocabulary and len(vocabulary) != ENGLISH_ONLY:
        (folder / "vocabulary.json").write_text(json.dumps(["", *vocabulary[1:]], ensure_ascii=False))


if __name__ == "__main__":
    write_ctranslate2(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))
