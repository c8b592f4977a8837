"""An engine, a translator, a store to read from and a table are each added with one file and one registration."""

from __future__ import annotations

import dataclasses
import sys

import pyarrow as pa
import pytest

from tests.conftest import SAMPLES
from transforms.dataset import schema
from transforms.engines.registry import ENGINES
from transforms.records import Transcript
from transforms.storage.registry import STORES
from transforms.translators.registry import TRANSLATORS

TOY = """
import dataclasses

from transforms.engines.catalog import ModelFacts
from transforms.records import WindowTranscription, Segment
from transforms.storage.local import LocalStore


class Model:
    def transcribe(self, windows):
        segment = Segment(0.0, 1.0, "toy", "en")
        return [WindowTranscription({task: (segment,) for task in window.tasks}, "en", 1.0) for window in windows]

    def release_memory(self):
        pass


@dataclasses.dataclass(frozen=True)
class Engine:
    model: ModelFacts = ModelFacts("toy", "toy", "toy@1", 10.0, False)

    @classmethod
    def from_options(cls, options):
        return cls()

    def languages(self):
        return frozenset({"en", "hi"})

    def in_languages(self, language, languages):
        return self

    def key(self):
        return "toy"

    def batch_size(self):
        return 2

    def place(self):
        return "nowhere"

    def load(self):
        return Model()


class Shouting:
    def translate(self, texts, source):
        return [text.upper() for text in texts], ""

    def stop(self):
        pass


@dataclasses.dataclass(frozen=True)
class Translator:
    target: str

    @classmethod
    def from_options(cls, options):
        return cls(options["translate_to"])

    def identity(self):
        return {"model": "shouting"}

    def open(self):
        return Shouting()


class Attic:
    def __init__(self):
        self._local = LocalStore()

    @classmethod
    def serving(cls, uri, profiles):
        return cls()

    def canonical(self, uri):
        return uri

    def _path(self, uri):
        return "/" + uri.removeprefix("attic://")

    def _entry(self, found):
        return found and found._replace(uri="attic://" + found.uri.lstrip("/"))

    def stat(self, uri):
        return self._entry(self._local.stat(self._path(uri)))

    def list(self, folder):
        return map(self._entry, self._local.list(self._path(folder)))

    def glob(self, pattern):
        return map(self._entry, self._local.glob(self._path(pattern)))

    def links(self, place, pattern=False):
        return iter(())

    def link(self, uri):
        return ""

    def is_folder(self, uri):
        return self._local.is_folder(self._path(uri))

    def read(self, uri):
        return self._local.read(self._path(uri))

    def read_range(self, uri, start, size, version):
        return self._local.read_range(self._path(uri), start, size, version)

    def open_media(self, entry):
        return self._local.open_media(entry._replace(uri=self._path(entry.uri)))
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toys as a module that somebody has beside the product, registered as they would be."""
    (tmp_path / "toys.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    kinds = ((ENGINES, "toy", "Engine"), (TRANSLATORS, "shout", "Translator"), (STORES, "attic", "Attic"))
    for registry, name, kind in kinds:
        monkeypatch.setitem(registry._entries, name, None)
        registry.register(name, f"toys:{kind}")
    yield
    sys.modules.pop("toys", None)


def length_rows(outcome):
    return [{"id": outcome.media.id, "characters": len(outcome.text)}] if isinstance(outcome, Transcript) else []


@pytest.fixture
def a_table(monkeypatch):
    lengths = pa.schema([("id", pa.string()), ("characters", pa.int64())])
    monkeypatch.setitem(schema.TABLES, "lengths", schema.Table(lengths, length_rows))


def test_each_is_one_file_and_one_registration(toy, a_table, tmp_path, capsys):
    from apache_beam import Pipeline

    from beam_pipeline import options, parser
    from beam_pipeline.pipeline import build
    from beam_pipeline.run.job import make_job
    from tests.runs import table

    output = tmp_path / "out"
    made = dataclasses.replace(options.OPTIONS["engine"], choices=tuple(ENGINES))
    with pytest.MonkeyPatch.context() as patch:
        known = {"engine": made, "translator": dataclasses.replace(options.OPTIONS["translator"], choices=("shout",))}
        steps = {step: tuple(known.get(each.name, each) for each in of) for step, of in options.STEPS.items()}
        patch.setattr(parser, "STEPS", steps)
        flags, _ = parser.parse([
            "--input", f"attic:/{SAMPLES}/market.mp4", "--output", str(output), "--engine", "toy",
            "--translator", "shout", "--translate_to", "fr",
        ])  # fmt: skip
    job = make_job(flags)
    job.work.store.put(f"{output}/run.json", b"{}")
    with Pipeline("FnApiRunner") as pipeline:
        build(pipeline, job)
    (row,) = table(str(output), "transcripts")
    assert (row["id"], row["engine"], row["model"]) == ("market.mp4", "toy", "toy")
    assert set(row["transcription"].split()) == {"toy"}
    assert set(row["translation"].split()) == {"TOY"}
    (lengths,) = table(str(output), "lengths")
    assert lengths == {"id": "market.mp4", "characters": len(row["transcription"])}


def test_a_place_that_can_only_be_read_is_no_output(toy, tmp_path):
    from beam_pipeline.parser import parse
    from beam_pipeline.run.job import make_job

    flags, _ = parse(["--input", str(SAMPLES), "--output", "attic://out", "--model", "demo"])
    with pytest.raises(ValueError, match="media can be read from there, and nothing written"):
        make_job(flags)


def test_a_name_that_nobody_registered_is_told_with_those_that_are():
    with pytest.raises(KeyError, match="'whispr' is no engine: choose from whisper"):
        ENGINES["whispr"]
