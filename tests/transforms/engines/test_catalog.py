from __future__ import annotations

import json
import shutil

import pytest

from tests.hub import COMMIT, MODEL, hub
from transforms.engines.catalog import DEMO_FOLDER, commit_of, describe, fetch_config, known_languages


def test_the_demo_model_declares_its_own_longest_window():
    facts = describe("demo")
    assert facts.is_demo
    assert facts.longest_window_s == json.loads((DEMO_FOLDER / "config.json").read_text())["longest_window_s"]
    assert {"hi", "en"} <= known_languages(facts)


def test_a_model_on_the_hub_is_known_by_name_and_revision_without_a_network():
    facts = describe("openai/whisper-large-v3", "abc")
    assert (facts.path, facts.identity) == ("openai/whisper-large-v3", "openai/whisper-large-v3@abc")
    assert facts.longest_window_s == 30
    assert len(known_languages(facts)) == 100
    assert "yue" not in known_languages(describe("openai/whisper-small"))


def test_the_same_weights_are_the_same_model_wherever_they_lie(tmp_path):
    copy = shutil.copytree(DEMO_FOLDER, tmp_path / "copy")
    facts = describe(str(copy))
    assert facts.identity == describe("demo").identity
    assert not facts.is_demo
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert describe(str(copy)).identity != facts.identity


@pytest.mark.parametrize(
    ("model", "advice"),
    [("nothere", "not an id such as"), ("a/b/c", "not an id"), ("", "no config.json"), ("../..", "no config.json")],
)
def test_what_is_no_model_is_refused_with_advice(model, advice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=advice):
        describe(model)


def test_a_folder_with_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="bert model, not Whisper"):
        describe(str(tmp_path))


def test_a_revision_is_the_commit_that_the_hub_says_or_this_machine_has(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with hub() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        assert commit_of(MODEL, "main") == COMMIT
        assert commit_of("stand-in/nothere", "main") == ""
    assert commit_of(MODEL, "main") == ""  # it was only asked for
    with hub() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        fetch_config(MODEL, "main")
    assert commit_of(MODEL, "main") == COMMIT
    assert commit_of(MODEL, "f" * 40) == "f" * 40
    assert commit_of(str(DEMO_FOLDER), "main") == ""
