"""Three hours of known utterances at known places: what the job says of when each of them begins."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.conftest import SAMPLES, TRUTH, media_of, offset, pcm_of, write_channels
from tests.runs import run
from transforms.decode_audio import DecodeConfig, decode
from transforms.media.chunks import ChunkConfig, chunks_of
from transforms.media.windows import WindowConfig
from transforms.records import SAMPLE_RATE_HZ, MediaChunk

pytestmark = pytest.mark.long(150)

HOURS_3_S = 3 * 3600
PAUSES_S = (0.2, 0.5, 1.0, 2.5, 0.3, 7.0, 0.2, 30.0, 1.5, 120.0, 0.7, 600.0)
NEAR_S = 0.3
EDGE_S = 0.1  # kept of what is around an utterance


@pytest.fixture(scope="module")
def spoken():
    """(audio, [(start_s, text)]): utterances of the samples, with pauses from 0.2 s to 10 minutes between them."""
    audio = np.zeros(HOURS_3_S * SAMPLE_RATE_HZ, np.int16)
    known, at = [], round(1.3 * SAMPLE_RATE_HZ)
    clips = []
    for name in ("five minutes.opus", "village.opus", "letter.flac"):
        pcm = pcm_of(SAMPLES / name)
        for each in TRUTH[name]["utterances"]:
            start, end = ((each[key] + edge) * SAMPLE_RATE_HZ for key, edge in (("start", -EDGE_S), ("end", EDGE_S)))
            clips.append((pcm[max(0, round(start)) : round(end)], each["text"]))
    for number, (clip, text) in enumerate(2 * clips):
        audio[at : at + len(clip)] = clip
        known.append((at / SAMPLE_RATE_HZ + EDGE_S, text))
        at += len(clip) + round((PAUSES_S[number % len(PAUSES_S)] - 2 * EDGE_S) * SAMPLE_RATE_HZ)
        at = min(at, len(audio) - 20 * SAMPLE_RATE_HZ)
    return audio, known


@pytest.fixture(scope="module")
def media(spoken, tmp_path_factory):
    return write_channels(tmp_path_factory.mktemp("long") / "three hours.flac", spoken[0][:, np.newaxis])


@pytest.fixture(scope="module")
def said(media, tmp_path_factory):
    """The transcript of the job, which cuts the recording into chunks."""
    out = tmp_path_factory.mktemp("out") / "out"
    ended = run("--input", media, "--output", out, "--model", "demo", "--formats", "json", "--chunk_minutes", 20)
    assert ended.code == 0, ended.said
    counted = json.loads((out / "run.json").read_text())["counters"]
    assert counted["decode.chunks"] > 1
    return json.loads((out / "media" / "three hours.json").read_text())


def test_starts_are_right_over_three_hours(said, spoken):
    known = [start for start, _ in spoken[1]]
    found = np.array([segment["start"] for segment in said["segments"]])
    near = [np.abs(found - start).min() <= NEAR_S for start in known]
    assert known[-1] > 0.7 * HOURS_3_S
    assert np.mean(near) >= 0.95
    assert np.mean(near[-20:]) >= 0.9  # at the end as at the beginning


def test_segments_are_in_order_inside_the_media_and_apart(said):
    times = [(segment["start"], segment["end"]) for segment in said["segments"]]
    flat = [time for pair in times for time in pair]
    assert flat == sorted(flat)
    assert flat[0] >= 0
    assert flat[-1] <= said["duration_sec"] == HOURS_3_S


def test_each_utterance_is_there_once(said, spoken):
    expected, found = len(spoken[1]), len(said["segments"])
    assert abs(found - expected) <= 0.05 * expected


@pytest.mark.parametrize("seekable", [True, False])
def test_windows_lie_where_their_samples_are(media, spoken, seekable):
    audio = spoken[0]
    config = DecodeConfig(WindowConfig(max_window_s=8), chunks=ChunkConfig(60))
    cut = [
        chunk._replace(seekable=seekable) for chunk in chunks_of(MediaChunk(media_of(media), chunks=0), config.chunks)
    ]
    assert len(cut) == 3
    for chunk in cut if seekable else cut[-1:]:
        found = list(decode(chunk, config))
        for window in (found[0], found[-1]):
            assert offset(np.frombuffer(window.pcm, np.int16), audio, window.start_sample) == 0
