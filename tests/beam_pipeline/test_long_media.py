"""Media in chunks, and channels on their own: the same words as of the whole, and nothing done twice."""

from __future__ import annotations

import json
import shutil

import jiwer
import numpy as np
import pytest

from tests.conftest import SAMPLES, TRUTH, pcm_of, write_channels
from tests.runs import counters, files, layer, letters, run, table, timeless

pytestmark = pytest.mark.long(130)

CHUNKS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    shutil.copy(SAMPLES / "five minutes.opus", folder / "long.opus")
    shutil.copy(SAMPLES / "village.opus", folder / "short.opus")
    return folder


def transcribed(folder, output, *words):
    ended = run("--input", folder, "--output", output, "--model", "demo", *words)
    assert ended.code == 0, ended.said
    return output


@pytest.fixture(scope="module")
def cut(folder, tmp_path_factory):
    """The output of a run that cut the long media into three chunks."""
    return transcribed(folder, tmp_path_factory.mktemp("cut") / "out", "--chunk_minutes", 2)


def told(output, name):
    return json.loads((output / "media" / f"{name}.json").read_text())


def test_a_long_recording_is_committed_in_chunks_and_a_short_one_whole(cut):
    names = sorted(name.rpartition("/")[2] for name in layer(cut, "asr"))
    assert names == sorted([*(f"{number}-of-{CHUNKS}.json" for number in range(CHUNKS)), "0-of-1.json"])
    assert counters(cut)["decode.chunks"] == CHUNKS + 1
    assert counters(cut)["decode.media"] == counters(cut)["plan.media"] == 2


def test_the_words_at_the_seams_are_right_each_once(cut):
    """As the words of the whole: a model may mistake a word in a window that begins elsewhere, and no more."""
    made, spoken = told(cut, "long"), TRUTH["five minutes.opus"]["utterances"]
    assert jiwer.wer(" ".join(each["text"] for each in spoken), made["transcription"]) <= 0.02
    assert len(made["segments"]) == len(spoken)
    assert [each["start"] for each in made["segments"]] == pytest.approx([each["start"] for each in spoken], abs=0.3)
    for segment, utterance in zip(made["segments"], spoken, strict=True):
        if any(abs(utterance["start"] - cut_point * 120) < 20 for cut_point in range(1, CHUNKS)):
            assert segment["text"] == utterance["text"]
    assert made["duration_sec"] == pytest.approx(TRUTH["five minutes.opus"]["duration"], abs=0.1)


def test_a_short_media_is_the_same_whether_long_ones_are_cut_or_not(cut, folder, tmp_path):
    whole = transcribed(folder / "short.opus", tmp_path / "whole", "--chunk_minutes", 0)
    assert told(cut, "short")["segments"] == told(whole, "short")["segments"]


def test_only_the_chunk_that_is_missing_is_done_again(cut, folder, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(cut, output)
    before = timeless(files(output))
    [lost] = (output / "_work" / "asr").glob("*/*/1-of-3.json")
    lost.unlink()
    transcribed(folder, output, "--chunk_minutes", 2)
    assert counters(output)["decode.chunks"] == 1
    assert timeless(files(output)) == before


def test_a_finished_long_media_is_looked_into_no_more(cut, folder, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(cut, output)
    transcribed(folder, output, "--chunk_minutes", 2)
    assert "decode.chunks" not in counters(output)


def test_a_kill_between_two_chunks_loses_what_was_in_flight_only(folder, tmp_path, cut):
    output = tmp_path / "out"
    flags = ["--input", folder, "--output", output, "--model", "demo", "--chunk_minutes", 2]
    changes = run(*flags).changes
    first = next(number for number, change in enumerate(changes, 1) if "-of-3" in change)
    shutil.rmtree(output)
    assert run(*flags, stop_after=first).code == -9
    committed = layer(output, "asr")
    transcribed(folder, output, "--chunk_minutes", 2)
    assert counters(output)["decode.chunks"] == CHUNKS + 1 - len(committed)
    assert timeless(files(output)) == timeless(files(cut))


def test_a_long_recording_that_cannot_be_decoded_is_one_dead_letter(folder, tmp_path):
    """Every chunk of it fails, for there is no such track."""
    ended = run(
        "--input", folder, "--output", tmp_path / "out", "--model", "demo", "--chunk_minutes", 2, "--audio_track", "1"
    )
    assert ended.code == 3
    assert set(letters(tmp_path / "out").values()) == {"no_such_track"}
    assert len(table(tmp_path / "out", "dead_letters")) == 2


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """A call: one sample in the left channel, another in the right."""
    left, right = pcm_of(SAMPLES / "village.opus"), pcm_of(SAMPLES / "letter.flac")
    both = np.stack([left, np.pad(right, (0, len(left) - len(right)))], axis=1)
    return write_channels(tmp_path_factory.mktemp("call") / "call.wav", both)


def test_each_channel_of_a_call_is_transcribed_on_its_own(call, tmp_path):
    split = transcribed(call, tmp_path / "out", "--channels", "split", "--translate_to", "en")
    alone = transcribed(SAMPLES, tmp_path / "alone", "--translate_to", "en")
    segments = told(split, "call")["segments"]
    for channel, name in ((0, "village"), (1, "letter")):
        own = [segment for segment in segments if segment["channel"] == channel]
        expected = told(alone, name)["segments"]
        assert [segment["text"] for segment in own] == [segment["text"] for segment in expected]
        assert [segment["translation"] for segment in own] == [segment["translation"] for segment in expected]
        assert [each["start"] for each in own] == pytest.approx([each["start"] for each in expected], abs=0.1)
    assert {segment["channel"] for segment in segments} == {0, 1}
    starts = [segment["start"] for segment in segments]
    assert starts == sorted(starts)
    rows = table(tmp_path / "out", "segments")
    assert {row["channel"] for row in rows} == {0, 1}


def test_mono_media_have_one_channel_when_split(tmp_path):
    output = transcribed(SAMPLES / "letter.flac", tmp_path / "out", "--channels", "split")
    assert {segment["channel"] for segment in told(output, "letter")["segments"]} == {0}
