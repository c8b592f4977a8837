from __future__ import annotations

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.hub import MODEL, hub
from transforms.engines import conversion
from transforms.engines.catalog import DEMO_FOLDER, ModelError, describe, is_ctranslate2
from transforms.engines.conversion import ctranslate2_folder, made_once, transformers_source


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "beam_pipeline" / "models"


def test_several_at_once_make_it_once_and_whole(tmp_path):
    made = []

    def make(folder):
        folder.mkdir()
        time.sleep(0.05)  # the others are at the lock by then
        (folder / "whole").touch()
        made.append(folder)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: made_once(tmp_path / "it", make), range(4)))
    assert (len(made), set(found)) == (1, {tmp_path / "it"})
    assert [each.name for each in (tmp_path / "it").iterdir()] == ["whole"]
    with pytest.raises(ValueError, match="broken"):
        made_once(tmp_path / "other", fails)
    assert {each.name for each in tmp_path.iterdir()} == {"it", "it.lock", "other.lock"}


def fails(folder):
    folder.mkdir()
    raise ValueError("broken")


@pytest.mark.long(11)
def test_a_checkpoint_is_converted_once_a_host_and_back(cache, monkeypatch):
    demo = describe("demo")
    folder = ctranslate2_folder(demo, "main")
    assert is_ctranslate2(folder)
    assert folder.parent == cache
    monkeypatch.setattr(conversion, "_run_converter", fails)
    assert ctranslate2_folder(demo, "main") == folder
    assert ctranslate2_folder(describe(str(folder)), "main") == folder  # is one already
    assert transformers_source(demo, "main") == demo.path
    back = pathlib.Path(transformers_source(describe(str(folder)), "main"))
    assert back.parent == cache
    assert not is_ctranslate2(back)


def test_a_cache_that_cannot_be_written_is_said_to_be(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set XDG_CACHE_HOME to a folder with room"):
        ctranslate2_folder(describe("demo"), "main")


@pytest.mark.long(11)
def test_a_checkpoint_that_cannot_be_converted_is_said_not_to_be(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(ModelError, match="cannot be converted for CTranslate2: "):
        ctranslate2_folder(describe(str(tmp_path)), "main")


@pytest.mark.long(30)
def test_a_model_on_the_hub_is_fetched_and_converted_whatever_its_format(tmp_path):
    code = (
        "from transforms.engines.catalog import describe\nfrom transforms.engines.conversion import *\n"
        f"model = describe({MODEL!r})\n"
        "print(ctranslate2_folder(model, 'main'))\nprint(transformers_source(model, 'main'))"
    )

    def found(folder, name):
        with hub(folder) as address:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
            environment |= {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / name)}
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    converted, source = found(DEMO_FOLDER, "one")
    assert is_ctranslate2(pathlib.Path(converted))
    assert source == MODEL
    fetched, source = found(pathlib.Path(converted), "other")
    assert is_ctranslate2(pathlib.Path(fetched))
    assert fetched.startswith(str(tmp_path / "other"))
    assert describe(source).longest_window_s == 30
