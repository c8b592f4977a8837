"""Reads CTranslate2's model.bin, and writes what is in it as a checkpoint of transformers. Needs neither library."""

from __future__ import annotations

import json
import mmap
import pathlib
import shutil
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

WEIGHTS = "model.bin"
OLDEST_VERSION = 4  # of the file's layout: the first that tells the type of each array
TYPES = ("<f4", "i1", "<i2", "<i4", "<f2", "<u2")  # the last are bfloat16's bits, which numpy has no type for
BFLOAT16 = 5
ENGLISH_ONLY = 51_864  # tokens; every other Whisper has more, or a vocabulary of its own
TIMESTAMPS = 1501
HEAD_SIZE = 64  # of every Whisper of OpenAI's
POSITIONS = "decoder/position_encodings/encodings"


class Weights(NamedTuple):
    """A model.bin. The arrays are views of the file."""

    kind: str  # of the model, "WhisperSpec"
    arrays: dict[str, np.ndarray]  # by the name of the weight

    @property
    def vocabulary_size(self) -> int:
        return len(self.arrays["decoder/embeddings/weight"])

    @property
    def mels(self) -> int:
        return self.arrays["encoder/conv1/weight"].shape[1]

    @property
    def positions(self) -> int:
        """Tokens that a text can have at most, with its prompt."""
        return len(self.arrays[POSITIONS])

    def layers(self, side: str) -> int:
        """How many the "encoder" or "decoder" has."""
        return len({name.split("/")[1] for name in self.arrays if name.startswith(f"{side}/layer_")} - {"layer_norm"})

    def heads(self, side: str) -> int:
        width = self.arrays["encoder/conv1/weight"].shape[0]
        told = self.arrays.get(f"{side}/num_heads")
        return width // HEAD_SIZE if told is None else int(told)

    def plain(self, name: str) -> np.ndarray:
        """float16 or float32: the array as it was before it was quantized, up to what that has lost."""
        value, scale = self.arrays[name], self.arrays.get(f"{name}_scale")
        if scale is not None:
            rows = value.reshape(len(value), -1).astype(np.float32)
            return (rows / scale.astype(np.float32).reshape(-1, 1)).reshape(value.shape)
        if value.dtype == np.uint16:
            return (value.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(value)


def read(path: pathlib.Path) -> Weights:
    """The weights in a model.bin.

    Raises:
        ValueError: it is none, or cut short.
    """
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise ValueError(f"{path} is empty") from None
    try:
        return _Reader(content).weights()
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is cut short, or no model of CTranslate2's") from error


class _Reader:
    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._at = content, 0

    def weights(self) -> Weights:
        version = self._number("<I")
        if not OLDEST_VERSION <= version < 100:
            raise IndexError("another kind of file")
        kind = self._name()
        self._number("<I")  # revision of the specification
        arrays = dict(self._array() for _ in range(self._number("<I")))
        aliases = [(self._name(), self._name()) for _ in range(self._number("<I"))]
        return Weights(kind, arrays | {alias: arrays[name] for alias, name in aliases if name in arrays})

    def _number(self, layout: str) -> int:
        (value,) = struct.unpack_from(layout, self._content, self._at)
        self._at += struct.calcsize(layout)
        return value

    def _name(self) -> str:
        size = self._number("<H")
        self._at += size
        return self._content[self._at - size : self._at - 1].decode()

    def _array(self) -> tuple[str, np.ndarray]:
        name = self._name()
        shape = [self._number("<I") for _ in range(self._number("<B"))]
        kind, size = TYPES[self._number("<B")], self._number("<I")
        if self._at + size > len(self._content):
            raise IndexError("cut short")
        value = np.frombuffer(self._content, kind, size // np.dtype(kind).itemsize, self._at).reshape(shape)
        self._at += size
        return name, value


def check(folder: pathlib.Path) -> None:
    """Raises ValueError where the folder does not hold a whole Whisper in CTranslate2's format."""
    weights = read(folder / WEIGHTS)
    if weights.kind != "WhisperSpec":
        raise ValueError(f"the folder holds a model of the kind {weights.kind}, not Whisper")
    if not (folder / "tokenizer.json").is_file():
        raise ValueError("the folder has no tokenizer.json: copy that of the checkpoint it was converted from")
    known = {each["content"]: each["id"] for each in _tokenizer(folder).get("added_tokens", ())}
    last = known.get("<|notimestamps|>", weights.vocabulary_size) + TIMESTAMPS
    if last >= weights.vocabulary_size:
        raise ValueError(f"tokenizer.json does not fit the weights, which know {weights.vocabulary_size} tokens")


def generation_settings(folder: pathlib.Path) -> dict[str, Any]:
    """The generation config of a model in CTranslate2's format: the one beside it, else what its own config tells."""
    given = folder / "generation_config.json"
    if given.is_file():
        return json.loads(given.read_text())
    config = json.loads((folder / "config.json").read_text())
    settings = {
        "alignment_heads": config.get("alignment_heads"),
        "suppress_tokens": config.get("suppress_ids"),
        "begin_suppress_tokens": config.get("suppress_ids_begin"),
        "max_initial_timestamp_index": 50,  # openai/whisper's: a second
        "is_multilingual": read(folder / WEIGHTS).vocabulary_size != ENGLISH_ONLY,
    }
    return {name: value for name, value in settings.items() if value is not None}


def write_transformers(source: pathlib.Path, target: pathlib.Path) -> None:
    """Write the model in a folder of CTranslate2's format into a new folder, in transformers' format.

    Raises:
        ValueError: it is no whole Whisper.
    """
    from safetensors.numpy import save_file

    check(source)
    weights = read(source / WEIGHTS)
    target.mkdir(parents=True)
    arrays = dict(_renamed(weights))
    arrays |= {name: value.astype(np.float32) for name, value in arrays.items()} if _is_mixed(arrays) else {}
    save_file(arrays, target / "model.safetensors", {"format": "pt"})
    special = {each["content"]: each["id"] for each in _tokenizer(source)["added_tokens"]}
    ids = {"decoder_start_token_id": special["<|startoftranscript|>"]}
    ids |= {f"{name}_token_id": special["<|endoftext|>"] for name in ("bos", "eos", "pad")}
    settings = generation_settings(source)
    settings = {"max_length": weights.positions, "no_timestamps_token_id": special["<|notimestamps|>"]} | settings
    if settings.get("is_multilingual") is not False and "lang_to_id" not in settings:
        own = set(json.loads((source / "config.json").read_text()).get("lang_ids", ()))
        settings["lang_to_id"] = {name: number for name, number in special.items() if number in own}
        settings["task_to_id"] = {task: special[f"<|{task}|>"] for task in ("transcribe", "translate")}
    tokenizer = {"tokenizer_class": "WhisperTokenizer", "processor_class": "WhisperProcessor"}
    tokenizer |= {f"{name}_token": "<|endoftext|>" for name in ("bos", "eos", "unk", "pad")}
    for name, content in {
        "config.json": _config(weights, next(iter(arrays.values())).dtype.name) | ids,
        "generation_config.json": ids | settings,
        "tokenizer_config.json": tokenizer,
        "preprocessor_config.json": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "processor_class": "WhisperProcessor",
            "feature_size": weights.mels,
        },
    }.items():
        (target / name).write_text(json.dumps(content, indent=1))
    shutil.copy(source / "tokenizer.json", target)


def _tokenizer(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads((folder / "tokenizer.json").read_text())


def _is_mixed(arrays: dict[str, np.ndarray]) -> bool:
    return len({value.dtype for value in arrays.values()}) > 1


def _config(weights: Weights, dtype: str) -> dict[str, Any]:
    """The config.json that transformers reads the architecture from."""
    width = weights.arrays["encoder/conv1/weight"].shape[0]
    sides: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sides |= {
            f"{side}_layers": weights.layers(side),
            f"{side}_attention_heads": weights.heads(side),
            f"{side}_ffn_dim": len(weights.arrays[f"{side}/layer_0/ffn/linear_0/weight"]),
        }
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "vocab_size": weights.vocabulary_size,
        "num_mel_bins": weights.mels,
        "d_model": width,
        "max_source_positions": len(weights.arrays["encoder/position_encodings/encodings"]),
        "max_target_positions": weights.positions,
        "dtype": dtype,
        **sides,
    }


def _renamed(weights: Weights) -> Iterator[tuple[str, np.ndarray]]:
    """The weights under transformers' names."""
    plain = weights.plain
    for side in ("encoder", "decoder"):
        yield f"model.{side}.embed_positions.weight", plain(f"{side}/position_encodings/encodings")
        yield from _pair(weights, f"{side}/layer_norm", f"model.{side}.layer_norm", ("gamma", "beta"))
        for number in range(weights.layers(side)):
            yield from _layer(weights, f"{side}/layer_{number}", f"model.{side}.layers.{number}")
    for name in ("conv1", "conv2"):
        yield from _pair(weights, f"encoder/{name}", f"model.encoder.{name}")
    yield "model.decoder.embed_tokens.weight", plain("decoder/embeddings/weight")


def _layer(weights: Weights, old: str, new: str) -> Iterator[tuple[str, np.ndarray]]:
    yield from _attention(weights, f"{old}/self_attention", f"{new}.self_attn")
    if f"{old}/attention/linear_0/weight" in weights.arrays:
        yield from _attention(weights, f"{old}/attention", f"{new}.encoder_attn")
    yield from _pair(weights, f"{old}/ffn/linear_0", f"{new}.fc1")
    yield from _pair(weights, f"{old}/ffn/linear_1", f"{new}.fc2")
    yield from _pair(weights, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm", ("gamma", "beta"))


def _attention(weights: Weights, old: str, new: str) -> Iterator[tuple[str, np.ndarray]]:
    """CTranslate2 has the projections of what comes from one place in one matrix: queries, keys and values of
    self-attention; keys and values of cross-attention. Keys have no bias in Whisper, and zeros there.
    """
    joined, names = [0], ["q_proj", "k_proj", "v_proj"]
    if new.endswith("encoder_attn"):
        joined = [0, 1]
    parts = [
        part
        for number in joined
        for part in zip(
            *(
                np.split(weights.plain(f"{old}/linear_{number}/{kind}"), 3 if len(joined) == 1 else 1 + number)
                for kind in ("weight", "bias")
            ),
            strict=True,
        )
    ]
    for name, (weight, bias) in zip(names, parts, strict=True):
        yield f"{new}.{name}.weight", np.ascontiguousarray(weight)
        if name != "k_proj":
            yield f"{new}.{name}.bias", np.ascontiguousarray(bias)
    yield from _pair(weights, f"{old}/linear_{len(joined)}", f"{new}.out_proj")
    yield from _pair(weights, f"{old}/layer_norm", f"{new}_layer_norm", ("gamma", "beta"))


def _pair(
    weights: Weights, old: str, new: str, names: tuple[str, str] = ("weight", "bias")
) -> Iterator[tuple[str, np.ndarray]]:
    """A weight and its bias."""
    for kind, name in zip(("weight", "bias"), names, strict=True):
        yield f"{new}.{kind}", weights.plain(f"{old}/{name}")
