"""Where a model runs, in which precision, and how many windows at once: chosen from what the machine has."""

from __future__ import annotations

import functools
import os

import torch
from transformers import WhisperConfig

from transforms.engines.catalog import ModelFacts
from transforms.engines.conversion import transformers_source
from transforms.engines.placement import BATCH_ON_CPU, LARGEST_BATCH, Placement, claim_gpu

# for the rows; the rest is the allocator's and the features'
SHARE_OF_FREE_MEMORY = 0.7
# a row's encoder states and its own keys and values, over those of the cross-attention
ROW_OVERHEAD = 3


@functools.cache
def place(model: ModelFacts, revision: str, device: str, dtype: str, batch_size: int, claim: bool) -> Placement:
    """The placement that the settings ask for; "auto" and 0 are chosen from what is there.

    Chosen once a process: the memory that is free is another when the model is loaded.

    Args:
        claim: take a GPU for this process; without, only say what would be taken.

    Raises:
        ValueError: the device is not there.
        ModelError: the model cannot be had.
    """
    chosen = choose_device(claim) if device == "auto" else device
    if not is_there(chosen):
        raise ValueError(f"device {chosen}: torch finds none here; leave it out to take what there is")
    precision = choose_dtype(chosen) if dtype == "auto" else dtype
    return Placement(chosen, precision, batch_size or choose_batch_size(model, revision, chosen, precision))


def is_there(device: str) -> bool:
    kind, _, number = device.partition(":")
    if kind == "cuda":
        return torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def choose_device(claim: bool) -> str:
    """A GPU where there is one: of several, the first that no other process of this kind has claimed."""
    if torch.cuda.is_available():
        return f"cuda:{claim_gpu(torch.cuda.device_count())}" if claim else "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def choose_dtype(device: str) -> str:
    if device.startswith("cuda"):
        # torch calls bfloat16 supported where it is emulated, as on a T4, and slow.
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"
    return "float16" if device == "mps" else "float32"


def choose_batch_size(model: ModelFacts, revision: str, device: str, dtype: str) -> int:
    """As many windows as fit the free memory, at most 64 on a GPU and 8 elsewhere.

    Raises:
        ModelError: the model's config cannot be had.
    """
    most = LARGEST_BATCH if device.startswith("cuda") else BATCH_ON_CPU
    free = free_memory(device)
    if free is None:
        return most
    source = transformers_source(model, revision or "main")
    config = WhisperConfig.from_pretrained(source, revision=revision or "main")
    width = torch.finfo(getattr(torch, dtype)).bits // 8
    weights = 12 * config.d_model**2 * (config.encoder_layers + 4 * config.decoder_layers // 3) * width
    row = 2 * config.decoder_layers * config.max_source_positions * config.d_model * width * ROW_OVERHEAD
    return int(max(1, min(most, (free - weights) * SHARE_OF_FREE_MEMORY // row)))


def free_memory(device: str) -> int | None:
    """Bytes that are free on the device; None where nothing tells."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
