"""Where in the audio somebody speaks: Silero's voice activity model on onnxruntime, in batches of frames.

Only the ONNX file of the silero-vad package is used; the package itself would import torch.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pathlib
from typing import Any

import numpy as np

FRAME_SAMPLES = 512  # what the model was trained on at 16 kHz: 32 ms
CONTEXT_SAMPLES = 64  # of the frame before, put in front of each
BLOCK_FRAMES = 512  # frames a call: 16 s of audio, 700 × real time on one core
BLOCK_SAMPLES = BLOCK_FRAMES * FRAME_SAMPLES
STATE = (1, 1, 128)


@functools.cache
def _session() -> Any:
    """One session for all threads of this process; onnxruntime's `run` may be called from several at once."""
    # read while it is imported: it would report that to its maker at once
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    package = importlib.util.find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise RuntimeError("the package silero-vad is missing: pip install silero-vad")
    model = pathlib.Path(package.submodule_search_locations[0], "data", "silero_vad_16k_sequence.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the decoders are the parallelism
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class VoiceActivity:
    """The speech probability of each frame of one stream of audio, fed block by block."""

    def __init__(self) -> None:
        self._h, self._c = np.zeros(STATE, np.float32), np.zeros(STATE, np.float32)
        self._context: np.ndarray = np.zeros(CONTEXT_SAMPLES, np.float32)

    def probabilities(self, pcm: bytes) -> np.ndarray:
        """float32[n_frames], rounded to 3 decimals: n_frames = samples / 512, the last frame padded with zeros.

        Blocks of a fixed size give the same figures however the audio arrived; only the last may be no multiple
        of a frame.
        """
        samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
        samples = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
        with_context = np.concatenate([self._context, samples])
        width = CONTEXT_SAMPLES + FRAME_SAMPLES
        frames = np.lib.stride_tricks.sliding_window_view(with_context, width)[::FRAME_SAMPLES]
        inputs = {"input": np.ascontiguousarray(frames), "h": self._h, "c": self._c}
        found, self._h, self._c = _session().run(None, inputs)
        self._context = samples[-CONTEXT_SAMPLES:]
        return np.round(found.reshape(-1), 3)
