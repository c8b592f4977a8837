from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from transforms.engines.catalog import DEMO_FOLDER, describe, is_ctranslate2, known_languages
from transforms.engines.conversion import write_ctranslate2
from transforms.engines.ctranslate2_file import read, write_transformers


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The demo model in CTranslate2's format."""
    folder = tmp_path_factory.mktemp("converted") / "demo"
    write_ctranslate2(str(DEMO_FOLDER), "main", folder)
    return folder


def test_there_and_back_every_weight_is_the_same(converted, tmp_path):
    assert is_ctranslate2(converted)
    write_transformers(converted, tmp_path / "back")
    assert not is_ctranslate2(tmp_path / "back")
    first, back = (WhisperForConditionalGeneration.from_pretrained(each) for each in (DEMO_FOLDER, tmp_path / "back"))
    for name, value in first.state_dict().items():
        assert torch.equal(value, back.state_dict()[name]), name
    same = ("d_model", "encoder_attention_heads", "decoder_attention_heads", "decoder_ffn_dim", "eos_token_id")
    for name in same:
        assert getattr(back.config, name) == getattr(first.config, name)
    assert back.generation_config.lang_to_id == first.generation_config.lang_to_id
    tokenizers = [WhisperProcessor.from_pretrained(each).tokenizer for each in (DEMO_FOLDER, tmp_path / "back")]
    ids = list(range(0, 2574, 7))
    assert tokenizers[0].decode(ids) == tokenizers[1].decode(ids)


def test_quantized_weights_come_back_within_a_step(converted, tmp_path):
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(DEMO_FOLDER), copy_files=["tokenizer.json"]).convert(
        str(tmp_path / "int8"), quantization="int8"
    )
    write_transformers(tmp_path / "int8", tmp_path / "back")
    made, true = load_file(tmp_path / "back" / "model.safetensors"), load_file(DEMO_FOLDER / "model.safetensors")
    name = "model.encoder.layers.0.fc1.weight"
    step = np.abs(true[name].astype(np.float32)).max(axis=1, keepdims=True) / 127
    assert np.abs(made[name] - true[name]).max() > 0
    assert (np.abs(made[name] - true[name]) <= 0.51 * step).all()


def test_a_folder_of_ctranslate2s_is_a_model(converted):
    facts = describe(str(converted))
    assert facts.path == str(converted)
    assert {"hi", "en"} <= known_languages(facts)


@pytest.mark.parametrize(
    ("damage", "advice"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda folder: (folder / "model.bin").write_bytes(b""), "is empty"),
        (lambda folder: (folder / "model.bin").write_bytes(b"no model at all"), "no model of CTranslate2's"),
        (lambda folder: cut_short(folder / "model.bin"), "cut short"),
        (lambda folder: other_tokenizer(folder / "tokenizer.json"), "tokenizer.json does not fit the weights"),
    ],
)
def test_what_is_no_whole_model_is_refused_with_advice(converted, tmp_path, damage, advice):
    folder = shutil.copytree(converted, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(ValueError, match=advice):
        describe(str(folder))


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100_000])


def other_tokenizer(path):
    content = json.loads(path.read_text())
    for token in content["added_tokens"]:
        token["id"] += 100
    path.write_text(json.dumps(content))


def test_weights_tell_what_they_are_of(converted):
    weights = read(converted / "model.bin")
    assert (weights.kind, weights.vocabulary_size, weights.mels, weights.positions) == ("WhisperSpec", 2574, 80, 448)
    assert [weights.layers(side) for side in ("encoder", "decoder")] == [4, 2]
    assert [weights.heads(side) for side in ("encoder", "decoder")] == [5, 5]
