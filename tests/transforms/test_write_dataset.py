from __future__ import annotations

import json
import pathlib
import time

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline

from transforms.dataset.schema import DEAD_LETTERS, SCHEMA_VERSION, SEGMENTS, TRANSCRIPTS
from transforms.records import (
    AudioFacts,
    ChunkTranscript,
    DeadLetter,
    MediaChunk,
    MediaFile,
    MediaOutcome,
    Segment,
    WindowRecord,
)
from transforms.work.own_files import commit_published, read_published
from transforms.work.store import WorkStore
from transforms.work.transcripts import Provenance
from transforms.write_dataset import DatasetConfig, ShardWriter, WriteDataset

SCHEMA = pathlib.Path(__file__).parent.parent / "data" / "schema.json"


def media(number):
    return MediaFile(
        f"{number * 7919:032x}"[::-1], f"m{number:03}.mp3", f"/in/m{number:03}.mp3", "v", name=f"m{number}"
    )


def commit(work, number):
    """Commit a transcript of one segment, and give its outcome."""
    audio = AudioFacts(10.0 * (number + 1), None, 44_100, 2, "mp3", 5.0, 0.25)
    segment = Segment(1.0, 2.0, f"text {number}", "hi", None, None, None, -0.25, 0.01)
    window = WindowRecord(0, 0.5, 8.0, "hi", 0.9, -0.25, 0.01, 0.5, {"transcribe": (segment,)})
    work.commit_chunk(ChunkTranscript(MediaChunk(media(number)), audio, (window,)))
    return MediaOutcome(media(number), failed=False, fresh=True, audio_s=audio.duration_s)


def kill(work, number):
    work.commit_dead_letter(DeadLetter(media(number), "DecodeAudio", "not_media", "fetch it again", "bad header"))
    return MediaOutcome(media(number), failed=True, fresh=True)


def write(work, outcomes, shards=1):
    config = DatasetConfig(shards, (("model", "demo"),), time.time())
    commit_published(work, read_published(work).with_run((), shards))
    with TestPipeline("FnApiRunner") as pipeline:
        pipeline | beam.Create(outcomes) | WriteDataset(work, Provenance("whisper", "demo"), config)
    return json.loads(pathlib.Path(work.output, "summary.json").read_text())


def table(work, name):
    return pq.read_table(pathlib.Path(work.output, name)).to_pylist()


@pytest.fixture
def work(tmp_path):
    return WorkStore(str(tmp_path), "asr", "saved")


def test_the_schema_is_the_one_that_users_query():
    """A change of schema is a decision: raise SCHEMA_VERSION, tell the changelog, write this file anew."""
    now = {
        name: {field.name: f"{field.type}{'' if field.nullable else ' not null'}" for field in schema}
        for name, schema in (("transcripts", TRANSCRIPTS), ("segments", SEGMENTS), ("dead_letters", DEAD_LETTERS))
    }
    assert {"version": SCHEMA_VERSION, **now} == json.loads(SCHEMA.read_text())


def test_every_recording_is_one_row_of_transcripts_or_of_dead_letters(work):
    outcomes = [commit(work, n) for n in range(9)] + [kill(work, n) for n in range(9, 12)]
    summary = write(work, outcomes, shards=4)
    transcripts, letters = table(work, "transcripts"), table(work, "dead_letters")
    assert sorted(row["id"] for row in transcripts) == [f"m{n:03}.mp3" for n in range(9)]
    assert sorted(row["id"] for row in letters) == [f"m{n:03}.mp3" for n in range(9, 12)]
    assert [row["text"] for row in sorted(table(work, "segments"), key=lambda row: row["id"])] == [
        f"text {n}" for n in range(9)
    ]
    assert (summary["media"], summary["transcripts"], summary["dead_letters"]) == (12, 9, 3)
    assert summary["failures"] == {"not_media": 3}


def test_the_files_are_compressed_with_zstd_and_say_their_schema_version(work):
    write(work, [commit(work, 0)])
    (file,) = pathlib.Path(work.output, "transcripts").iterdir()
    group = pq.read_metadata(file).row_group(0)
    assert {group.column(number).compression for number in range(group.num_columns)} == {"ZSTD"}
    assert pq.read_schema(file).metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()


def test_long_media_are_flushed_by_their_segments_and_not_by_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr("transforms.write_dataset.ROW_GROUP", 100)
    row = {**dict.fromkeys(TRANSCRIPTS.names, None), "segments": [], "problems": [], "translated_segments": []}
    row |= {field.name: "" for field in TRANSCRIPTS if not field.nullable and pa.types.is_string(field.type)}
    row |= {field.name: 0 for field in TRANSCRIPTS if not field.nullable and pa.types.is_primitive(field.type)}
    segment = {"start": 0.0, "end": 1.0, "text": "x", "language": "hi"}
    with ShardWriter(WorkStore(str(tmp_path), "asr", "saved"), 0, 1) as writer:
        for _ in range(10):
            writer.add("transcripts", [{**row, "segments": [segment] * 60}])
    assert pq.read_metadata(next((tmp_path / "transcripts").iterdir())).num_row_groups == 5


def test_rows_hold_what_was_committed(work):
    write(work, [commit(work, 3)])
    (row,) = table(work, "transcripts")
    expected = {
        "id": "m003.mp3",
        "duration_sec": 40.0,
        "sampling_rate": 44_100,
        "channels": 2,
        "codec": "mp3",
        "language": "hi",
        "language_probability": 0.9,
        "transcription": "text 3",
        "translation": None,
        "tokens": None,
        "avg_logprob": -0.25,
        "status": "ok",
        "speech_sec": 5.0,
        "infer_sec": 0.5,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["segments"][0]["start"] == 1.0


def test_the_same_layers_give_the_same_bytes_in_whatever_order_media_finish(work):
    outcomes = [commit(work, n) for n in range(30)]

    def content():
        return {path.name: path.read_bytes() for path in pathlib.Path(work.output, "transcripts").iterdir()}

    write(work, outcomes, shards=3)
    before = content()
    write(work, outcomes[::-1], shards=3)
    assert content() == before
    assert len(before) == 3


def test_shards_of_an_earlier_run_never_stay_beside_new_ones(work):
    outcomes = [commit(work, n) for n in range(9)]
    for shards in (5, 2, 3):
        write(work, outcomes, shards)
        assert len(table(work, "transcripts")) == 9
        assert len(list(pathlib.Path(work.output, "segments").iterdir())) == shards
    write(work, outcomes[:1], 3)  # the others left the input
    assert len(table(work, "transcripts")) == 1


def test_a_run_without_one_transcript_still_gives_tables_that_can_be_read(work):
    write(work, [kill(work, 0)])
    assert table(work, "transcripts") == []
    assert table(work, "segments") == []
    assert pq.read_schema(next(pathlib.Path(work.output, "transcripts").iterdir())).names == TRANSCRIPTS.names


def test_the_summary_adds_up_what_the_rows_say(work):
    outcomes = [commit(work, n) for n in range(4)]
    outcomes[3] = outcomes[3]._replace(fresh=False)  # done by an earlier run
    summary = write(work, outcomes, shards=2)
    assert summary["audio_sec"] == 100
    assert summary["languages"] == {"hi": {"media": 4, "audio_sec": 100, "speech_sec": 20, "characters": 24}}
    assert summary["duration_sec"] == {"min": 10, "max": 40, "sum": 100, "histogram": {"under 60": 4}}
    assert summary["sampling_rate"] == {"44100": 4}
    assert summary["stage_sec"] == {"decode": 1, "inference": 2}
    assert (summary["this_run"]["media"], summary["this_run"]["audio_sec"]) == (3, 60)
    assert summary["this_run"]["real_time_factor"] == pytest.approx(summary["this_run"]["wall_sec"] / 60, abs=0.01)
    assert summary["model"] == "demo"


def test_a_transcript_that_is_gone_from_the_layers_is_a_dead_letter_in_dataset_and_layers_alike(work):
    summary = write(work, [MediaOutcome(media(0), failed=False, fresh=False), commit(work, 1)])
    assert [row["code"] for row in table(work, "dead_letters")] == ["layer_lost"]
    assert work.dead_letter(media(0)).retryable
    assert (summary["media"], summary["transcripts"], summary["failures"]) == (2, 1, {"layer_lost": 1})
