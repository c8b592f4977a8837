from __future__ import annotations

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from transforms.engines.log_mel import log_mel


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [0, 100, 16_000, 479_900, 480_000])
def test_the_spectrograms_are_those_of_transformers(mels, samples):
    loud = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    loud[samples // 2 :] *= 1e-3
    theirs = WhisperFeatureExtractor(feature_size=mels)([loud], sampling_rate=16_000, return_tensors="np")
    ours = log_mel([loud, loud[::2]], mels)
    assert ours.shape == (2, mels, 3000)
    assert np.abs(theirs.input_features[0] - ours[0]).max() < 1e-4
