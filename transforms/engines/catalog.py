"""What can be known of a model without loading it: where it lies, how long a window it takes, what identifies it.

Needs neither torch nor a network, so the graph can be built and a dry run made without either.
"""

from __future__ import annotations

import errno
import hashlib
import json
import pathlib
import re
from typing import NamedTuple, cast

from transforms.engines.languages import WHISPER
from transforms.storage.secrets import redacted, register

UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
DEMO = "demo"
DEMO_FOLDER = pathlib.Path(__file__).parent / "demo"
WHISPER_WINDOW_S = 30.0
BEFORE_CANTONESE = r"openai/whisper-(tiny|base|small|medium|large|large-v2)"  # large-v3 was the first to have it
ASK_S = 10.0  # for the hub to answer
DEMO_NOTICE = (
    "The demo model knows a small vocabulary in synthetic voices and no real voice: it shows how the pipeline works. "
    "For real media choose a real model, such as --model openai/whisper-large-v3."
)


class ModelError(RuntimeError):
    """The model cannot be loaded, or cannot go on; the message tells the user what to do."""


class ModelFacts(NamedTuple):
    """A model, as known before it is loaded."""

    name: str  # as the user chose it
    source: str  # the folder, or the id on the hub
    # changes when the weights do: their hash, or the id and a commit (a revision, where none is known)
    identity: str
    longest_window_s: float
    is_demo: bool

    @property
    def path(self) -> str:
        """What to load it by, here: a worker may have the package elsewhere than the machine that submits."""
        return str(DEMO_FOLDER) if self.is_demo else self.source


def describe(model: str, revision: str = "") -> ModelFacts:
    """The facts of a model: `demo`, a folder in transformers' or CTranslate2's format, or an id on the hub.

    Raises:
        ValueError: it is none of the three; the message tells what to do.
    """
    folder = DEMO_FOLDER if model == DEMO else pathlib.Path(model).expanduser()
    if (folder / "config.json").is_file():
        config = json.loads((folder / "config.json").read_text())
        if is_ctranslate2(folder):
            _check_ctranslate2(model, folder)
        elif config.get("model_type") != "whisper":
            raise ValueError(f"--model {model}: the folder holds a {config.get('model_type')} model, not Whisper")
        longest = float(config.get("longest_window_s", WHISPER_WINDOW_S))
        source = DEMO if model == DEMO else str(folder.resolve())
        return ModelFacts(model, source, _hash_weights(folder), longest, model == DEMO)
    if folder.is_dir():
        raise ValueError(f"--model {model}: the folder has no config.json; save the model with save_pretrained")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise ValueError(
            f"--model {model}: no such folder, and not an id such as openai/whisper-large-v3; "
            "`--model demo` takes the model that ships with the package"
        )
    return ModelFacts(model, model, f"{model}@{revision or 'main'}", WHISPER_WINDOW_S, False)


def is_ctranslate2(folder: pathlib.Path) -> bool:
    """Whether a folder with a config.json is in CTranslate2's format, rather than in transformers'."""
    return (folder / "model.bin").is_file() and is_config_of_ctranslate2(folder / "config.json")


def is_config_of_ctranslate2(config: pathlib.Path) -> bool:
    """Whether a Whisper's config.json is CTranslate2's, which names no type of model: transformers' always does."""
    of_transformers = "model_type" in json.loads(config.read_text())
    return not of_transformers


def _check_ctranslate2(model: str, folder: pathlib.Path) -> None:
    from transforms.engines.ctranslate2_file import check  # with numpy, which takes its time

    try:
        check(folder)
    except ValueError as error:
        raise ValueError(f"--model {model}: {error}") from error


def _hash_weights(folder: pathlib.Path) -> str:
    """SHA-256 over the names and contents of the files that decide what the model says."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".safetensors", ".bin", ".json"}:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def known_languages(facts: ModelFacts) -> frozenset[str]:
    """The codes of the languages that a model can be told, as far as can be known before it is loaded."""
    folder = pathlib.Path(facts.path)
    settings = folder / "generation_config.json"
    content = json.loads(settings.read_text()) if settings.is_file() else {}
    if (folder / "config.json").is_file() and is_ctranslate2(folder):
        from transforms.engines.ctranslate2_file import generation_settings

        content = generation_settings(folder)
    if content.get("is_multilingual") is False or facts.path.endswith(".en"):
        return frozenset({"en"})
    if content.get("lang_to_id"):
        return frozenset(code.strip("<|>") for code in content["lang_to_id"])
    return WHISPER - {"yue"} if re.fullmatch(BEFORE_CANTONESE, facts.path) else WHISPER


def commit_of(path: str, revision: str) -> str:
    """The commit that a revision of a model is now: the hub's word, else what this machine has kept of it.

    "" of a folder, and where nobody knows: the hub cannot be reached, or does not have it.
    """
    if pathlib.Path(path).is_dir():
        return ""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    # Its bases are those of the HTTP library that this release is built on: three so far.
    unreachable = cast("tuple[type[Exception], ...]", (OSError, *HfHubHTTPError.__bases__))
    try:
        found = get_hf_file_metadata(hf_hub_url(path, "config.json", revision=revision), timeout=ASK_S).commit_hash
    except unreachable:
        found = None
    kept = try_to_load_from_cache(path, "config.json", revision=revision)
    return found or (pathlib.Path(kept).parent.name if isinstance(kept, str) else "")


def fetch_config(path: str, revision: str) -> None:
    """Get the one small file that tells whether the hub has the model: transformers tries many, for minutes.

    Raises:
        ModelError: it cannot be had.
    """
    if pathlib.Path(path).is_dir():
        return
    from huggingface_hub import constants, get_token, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    register(get_token())
    # a user of whom the system knows nothing: it would be made here
    if constants.HF_HUB_CACHE.startswith("~"):
        raise ModelError(f"there is no home folder to keep the model {path} in: set HF_HOME to a folder for it")
    try:
        hf_hub_download(path, "config.json", revision=revision, etag_timeout=ASK_S)
    except GatedRepoError as error:
        raise ModelError(f"the model {path} asks for consent: give it on its page and set HF_TOKEN") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"the model {path} is not on this machine, and the hub cannot be reached from it: "
            "download it elsewhere and give its folder, or use --model demo to see the pipeline work"
        ) from error
    except HfHubHTTPError as error:
        raise ModelError(f"the hub has no model {path} at revision {revision}: {redacted(error)}") from error
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise ModelError(f"the model {path} cannot be kept: {error}; set HF_HOME to a folder with room") from error
