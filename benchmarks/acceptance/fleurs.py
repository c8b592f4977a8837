"""A public set of speech with its text, as files on this machine: the test splits of FLEURS in Hindi and English.

The hub has two files a language: `data/hi_in/test.tsv`, a line an utterance, and `data/hi_in/audio/test.tar.gz`, a
wav each (16 kHz, 32-bit float). They come by plain downloads into Hugging Face's cache, which runs no code of the
set's; a folder with the same layout does as well. FLEURS is Google's, CC-BY-4.0: https://arxiv.org/abs/2205.12446.
"""

from __future__ import annotations

import pathlib
import random
import shutil
import tarfile
from collections.abc import Sequence
from typing import NamedTuple

REPOSITORY = "google/fleurs"
REVISION = "70bb2e84b976b7e960aa89f1c648e09c59f894dd"
LICENSE = "CC-BY-4.0"
LANGUAGES = {"hi_in": "hi", "en_us": "en"}  # the set's name of a language, and Whisper's
RATE_HZ = 16_000
# id of the sentence, file, text as it was read, text, its characters, samples, gender; no header
COLUMNS = 7
HUB_S = 10


class SetError(Exception):
    """The set cannot be had, or is not what it should be; the message tells the user what to do."""


class Utterance(NamedTuple):
    """One recording of a sentence."""

    # hi_in/1234.wav: its place below the folder of audio, and its name in a run
    id: str
    language: str
    # lower case and without punctuation where the set has it so, as OpenAI scored it
    text: str
    duration_s: float

    @property
    def set_name(self) -> str:
        return self.id.partition("/")[0]


def paths_of(set_name: str) -> tuple[str, str]:
    """Where the set has the texts and the audio of a language."""
    return f"data/{set_name}/test.tsv", f"data/{set_name}/audio/test.tar.gz"


def find(set_names: Sequence[str], folder: pathlib.Path | None) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """The texts and the audio of each language: from the folder, or else from the hub or its cache.

    Raises:
        SetError: one of them is not there.
    """
    wanted = {name: paths_of(name) for name in set_names}
    if folder is None:
        texts = {name: _from_hub(tsv, set_names) for name, (tsv, _) in wanted.items()}  # small, so they tell at once
        return {name: (texts[name], _from_hub(audio, set_names)) for name, (_, audio) in wanted.items()}
    found = {name: (folder / tsv, folder / audio) for name, (tsv, audio) in wanted.items()}
    for path in (path for pair in found.values() for path in pair):
        if not path.is_file():
            raise SetError(f"--folder {folder} has no {path.relative_to(folder)}")
    return found


def _from_hub(path: str, set_names: Sequence[str]) -> pathlib.Path:
    from httpx import HTTPError
    from huggingface_hub import hf_hub_download

    try:
        kept = hf_hub_download(REPOSITORY, path, repo_type="dataset", revision=REVISION, etag_timeout=HUB_S)
    except (OSError, HTTPError) as error:
        files = " ".join(path for name in set_names for path in paths_of(name))
        raise SetError(
            f"{path} of {REPOSITORY} cannot be had from the hub ({type(error).__name__}). Where there is a network, "
            f"run `hf download {REPOSITORY} {files} --repo-type dataset --revision {REVISION} --local-dir FOLDER`, "
            "bring FOLDER here, and give it as --folder FOLDER"
        ) from error
    return pathlib.Path(kept)


def read_utterances(tsv: pathlib.Path, set_name: str) -> list[Utterance]:
    """The utterances of a language, in order of their ids.

    Raises:
        SetError: a line is not what the set's lines are.
    """
    made = []
    for number, line in enumerate(tsv.read_text("utf-8").splitlines(), 1):
        fields = line.split("\t")  # quotes are the text's own
        if len(fields) != COLUMNS or not fields[5].isdecimal():
            raise SetError(f"{tsv}, line {number}: not a line of FLEURS, which has {COLUMNS} fields between tabs")
        duration_s = int(fields[5]) / RATE_HZ
        made.append(Utterance(f"{set_name}/{fields[1]}", LANGUAGES[set_name], fields[3], duration_s))
    return sorted(made)


def sample(utterances: list[Utterance], limit: int, seed: int) -> list[Utterance]:
    """So many of a language's utterances, the same for the same seed, in their order; all of them for limit 0."""
    if not 0 < limit < len(utterances):
        return utterances
    return sorted(random.Random(f"{seed}/{utterances[0].set_name}").sample(utterances, limit))


def unpack(archive: pathlib.Path, utterances: Sequence[Utterance], folder: pathlib.Path) -> None:
    """Write the audio of these utterances of one language below the folder. What is there already stays as it is,
    so that a run over it finds its media files unchanged.

    Raises:
        SetError: the archive lacks one of them.
    """
    wanted = {pathlib.PurePath(each.id).name: folder / each.id for each in utterances}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            target = wanted.get(pathlib.PurePath(member.name).name)
            content = tar.extractfile(member) if target and member.isfile() else None
            if target and content:
                del wanted[target.name]
                _write(content, member.size, target)
    if wanted:
        raise SetError(f"{archive} has no {min(wanted)}: {len(wanted)} recordings of its test.tsv are not in it")


def _write(content: object, size_bytes: int, target: pathlib.Path) -> None:
    if target.exists() and target.stat().st_size == size_bytes:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with part.open("wb") as out:
        shutil.copyfileobj(content, out)
    part.replace(target)
