"""The main job on real media with the real model, from the command line: what users rely on."""

from __future__ import annotations

import contextlib
import fcntl
import html
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.parse

import duckdb
import jiwer
import numpy as np
import pandas as pd
import psutil
import pysubs2
import pytest
import webvtt

from beam_pipeline.failures import retry_command
from beam_pipeline.outputs.last_run import read
from tests.conftest import ROOT, SAMPLES, TRUTH, write_wav
from tests.runs import counters, files, letters, transcripts
from tests.servers import ChatStub, upper
from transforms.media.ffmpeg_command import find_ffmpeg
from transforms.storage import Stores

WORD_ERROR = 0.02  # of the demo model over all its sample media
WORST_WORD_ERROR = 0.1  # over one of them: two words of the letter's 27
DONE, DEAD_LETTERS = 0, 3
# of a recording: several batches, so that a run can be stopped between two
COPIES = 14


def made_of(output, name):
    return json.loads((output / "media" / f"{pathlib.Path(name).stem}.json").read_text())


def said_and_meant(name):
    spoken = TRUTH[name]["utterances"]
    meant = " ".join(utterance.get("translation", utterance["text"]) for utterance in spoken)
    return " ".join(utterance["text"] for utterance in spoken), meant


def test_nearly_every_word_of_the_samples_and_of_its_translation_is_right(sample_run):
    expected = zip(*map(said_and_meant, TRUTH), strict=True)
    for field, texts in zip(("transcription", "translation"), expected, strict=True):
        assert jiwer.wer(list(texts), [made_of(sample_run, name)[field] for name in TRUTH]) <= WORD_ERROR


@pytest.mark.parametrize("name", TRUTH)
def test_the_words_the_translation_and_the_times_of_every_sample_are_right(sample_run, name):
    made, spoken = made_of(sample_run, name), TRUTH[name]["utterances"]
    for expected, found in zip(said_and_meant(name), (made["transcription"], made["translation"]), strict=True):
        assert jiwer.wer(expected, found) <= WORST_WORD_ERROR
    assert made["duration_sec"] == pytest.approx(TRUTH[name]["duration"], abs=0.1)
    assert len(made["segments"]) == len(spoken)
    for utterance, segment in zip(spoken, made["segments"], strict=True):
        assert segment["language"] == utterance["language"]
        assert segment["start"] == pytest.approx(utterance["start"], abs=0.3)
        assert segment["end"] == pytest.approx(utterance["end"], abs=0.3)


def test_the_dataset_reads_the_same_in_duckdb_and_pandas(sample_run):
    by_pandas = pd.read_parquet(sample_run / "transcripts").set_index("id")
    assert set(by_pandas.index) == set(transcripts(sample_run)) == set(TRUTH)
    assert (by_pandas["status"] == "ok").all()
    query = f"select language, count(*) from '{sample_run}/transcripts/*.parquet' group by 1 order by 1"
    assert duckdb.sql(query).fetchall() == [("en", 2), ("hi", 5)]
    query = f"select count(*) from '{sample_run}/segments/*.parquet' where translation is not null"
    assert duckdb.sql(query).fetchall() == [(sum(len(entry["utterances"]) for entry in TRUTH.values()),)]


def clock(text):
    """Milliseconds of 00:01:02.345."""
    hours, minutes, seconds = text.split(":")
    return (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000)


@pytest.mark.parametrize("language", ["", "en."])
def test_subtitles_say_the_same_in_two_parsers_and_both_formats(sample_run, language):
    stem = sample_run / "media" / f"market.{language}"
    srt = [(cue.start, cue.end, cue.text) for cue in pysubs2.load(f"{stem}srt")]
    cues = [(clock(c.start), clock(c.end), c.text.replace("\n", "\\N")) for c in webvtt.read(f"{stem}vtt")]
    assert cues == srt
    assert len(srt) == len(TRUTH["market.mp4"]["utterances"])


def test_the_demo_model_says_what_it_is(sample_run):
    for name in ("summary.json", "run.json"):
        assert "synthetic voices" in json.loads((sample_run / name).read_text())["notice"]


def test_the_report_says_what_the_summary_says_and_plays_the_media(sample_run):
    page = html.unescape((sample_run / "report.html").read_text())
    summary = json.loads((sample_run / "summary.json").read_text())
    assert f"<dt>Media</dt><dd>{summary['media']}</dd>" in page
    assert summary["notice"] in page
    assert summary["status"] == {"ok": len(TRUTH)}
    assert json.loads((sample_run / "run.json").read_text())["run"] in page
    assert "<code>--translate_to</code></dt><dd>en</dd>" in page
    for name, truth in TRUTH.items():
        assert f">{name}<" in page
        assert truth["utterances"][0]["text"] in page
    links = [urllib.parse.unquote(link) for link in re.findall('<source src="(.*?)">', page)]
    assert {(sample_run / link).resolve() for link in links} == {(SAMPLES / name).resolve() for name in TRUTH}


def test_run_json_holds_what_is_needed_to_run_again(sample_run):
    record = json.loads((sample_run / "run.json").read_text())
    assert record["options"]["model"] == "demo"
    assert {"apache-beam", "transformers", "torch", "ffmpeg", "python"} <= set(record["versions"])
    assert len(record["model"]["identity"]) == 64
    assert record["exit_code"] == 0


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with three of the sample media."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("letter.flac", "office.mp3", "village.opus"):
        shutil.copy(SAMPLES / name, folder)
    return folder


def test_nothing_that_is_done_is_done_again(cli, small, tmp_path):
    out = tmp_path / "out"
    flags = ["--input", small, "--output", out, "--model", "demo"]
    assert cli(*flags).code == DONE
    assert counters(out)["transcribe.windows"] == sum(int(row["windows"]) for row in transcripts(out).values())
    before, as_first = transcripts(out), files(out)
    tables = {path: path.read_bytes() for path in out.glob("*/*.parquet")}

    assert cli(*flags).code == DONE
    assert not {"decode.media", "transcribe.windows"} & set(counters(out))
    assert {path: path.read_bytes() for path in out.glob("*/*.parquet")} == tables

    assert cli(*flags, "--formats", "srt", "--batch_size", 3).code == DONE  # writes files, infers nothing
    assert not {"decode.media", "transcribe.windows"} & set(counters(out))
    assert transcripts(out) == before
    assert {name for name in as_first if name.endswith(".srt")} == set(files(out))

    assert cli(*flags, "--language", "hi").code == DONE  # another transcript: everything again
    assert counters(out)["decode.media"] == 3
    as_hindi = files(out)

    # back again: nothing is inferred, and the files are the first ones
    assert cli(*flags).code == DONE
    assert not {"decode.media", "transcribe.windows"} & set(counters(out))
    assert files(out) == as_first != as_hindi

    (small / "letter.flac").touch()  # another version of one recording: that one again
    assert cli(*flags).code == DONE
    assert counters(out)["decode.media"] == 1
    assert cli(*flags, "--overwrite").code == DONE
    assert counters(out)["decode.media"] == 3


@pytest.mark.long(30)
@pytest.mark.parametrize(
    "way",
    [
        ["--batch_size", 1],
        ["--batch_size", 7, "--num_shards", 3],
        ["--batch_size", 16, "--decode_ahead", 3],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2", "--num_shards", 2],
    ],
    ids=lambda way: "-".join(str(word).strip("-") for word in way),
)
def test_text_times_languages_and_status_do_not_depend_on_how_it_runs(cli, sample_run, tmp_path, way):
    flags = ["--input", SAMPLES / "two languages.m4a", SAMPLES / "letter.flac", SAMPLES / "office.mp3"]
    done = cli(*flags, "--output", tmp_path / "out", "--model", "demo", "--translate_to", "en", *way)
    assert done.code == DONE, done.err
    figures = ("avg_logprob", "language_probability", "no_speech_prob", "segments")  # may differ by a quantum
    expected = transcripts(sample_run)
    for name, row in transcripts(tmp_path / "out").items():
        assert {k: v for k, v in row.items() if k not in figures} == {
            k: v for k, v in expected[name].items() if k not in figures
        }


def test_bad_media_are_dead_letters_and_the_others_come_out_unharmed(cli, sample_run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(SAMPLES / "letter.flac", folder)
    (folder / "empty.mp3").touch()
    (folder / "random.mp3").write_bytes(os.urandom(5000))
    (folder / "cut.flac").write_bytes((SAMPLES / "letter.flac").read_bytes()[:100_000])
    write_wav(folder / "silent.wav", np.zeros(48_000))
    picture = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "color=s=64x64:d=1", str(folder / "mute.mp4")]
    subprocess.run(picture, check=True)
    expected = {"empty.mp3": "empty_file", "random.mp3": "not_media", "gone.mp4": "missing"}
    expected["mute.mp4"] = "no_audio_track"
    done = cli("--input", folder, "gone.mp4", "--output", tmp_path / "out", "--model", "demo")
    assert done.code == DEAD_LETTERS
    assert letters(tmp_path / "out") == expected
    rows = transcripts(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {
        "letter.flac": "ok",
        "cut.flac": "partial",
        "silent.wav": "empty",
    }
    assert rows["letter.flac"]["transcription"] == transcripts(sample_run)["letter.flac"]["transcription"]
    assert 0.3 < float(rows["cut.flac"]["coverage"]) < 0.7
    report = html.unescape((tmp_path / "out" / "report.html").read_text())
    assert all(f"<code>{code}</code>" in report for code in [*expected.values(), "truncated"])
    assert retry_command(read(str(tmp_path / "out"), Stores())) in report
    again = cli("--input", folder, "gone.mp4", "--output", tmp_path / "out", "--model", "demo")
    assert again.code == DEAD_LETTERS
    assert letters(tmp_path / "out") == expected  # remembered, not tried again
    assert "decode.failed" not in counters(tmp_path / "out")
    cli("--input", folder, "gone.mp4", "--output", tmp_path / "out", "--model", "demo", "--retry_failed")
    assert counters(tmp_path / "out")["decode.failed"] == len(expected) - 1


def test_an_llm_translates_through_a_server_and_is_not_asked_twice(cli, small, sample_run, tmp_path):
    flags = [
        "--input",
        small / "letter.flac",
        "--output",
        tmp_path / "out",
        "--model",
        "demo",
        "--translate_to",
        "fr",
    ]
    key = {"OPENAI_API_KEY": "very-secret-key"}
    with ChatStub(upper) as stub:
        flags += ["--openai_base_url", stub.url]
        done = cli(*flags, env=key)
        assert done.code == DONE, done.err
        assert cli(*flags, env=key).code == DONE
        assert len(stub.asked) == 1
        assert stub.keys == {"Bearer very-secret-key"}
    lines = (tmp_path / "out/media/letter.fr.txt").read_text().splitlines()
    assert lines == [f"[{segment['text']}]" for segment in made_of(sample_run, "letter.flac")["segments"]]
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if b"very-secret" in path.read_bytes()]
    assert "very-secret" not in done.out + done.err


def test_a_dry_run_knows_what_is_done(cli, small, tmp_path):
    flags = ["--input", small, "--output", tmp_path / "out", "--model", "demo"]
    assert cli(*flags).code == DONE
    assert cli(*flags, "--dry_run").out.splitlines()[-1] == "3 done before"
    assert cli(*flags, "--dry_run", "--formats", "txt").out.splitlines()[-1] == "3 write files"


def test_a_file_and_a_folder_of_one_name_stand_in_nobodys_way(cli, tmp_path):
    folder = tmp_path / "in"
    (folder / "letter.srt").mkdir(parents=True)
    shutil.copy(SAMPLES / "letter.flac", folder / "letter.flac")
    shutil.copy(SAMPLES / "letter.flac", folder / "letter.srt" / "b.flac")
    done = cli("--input", folder, "--output", tmp_path / "out", "--model", "demo", "--formats", "srt")
    assert done.code == DONE, done.err
    assert letters(tmp_path / "out") == {}
    assert set(transcripts(tmp_path / "out")) == {"letter.flac", "letter.srt/b.flac"}
    assert len(list((tmp_path / "out" / "media").rglob("*.srt"))) >= 2


@pytest.mark.long(10)
def test_the_terminal_shows_a_live_bar(small, tmp_path):
    terminal, worker = pty.openpty()
    fcntl.ioctl(worker, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    run = start(small, tmp_path / "out", stderr=worker)
    os.close(worker)
    shown = b""
    with contextlib.suppress(OSError):  # the other end closes
        while piece := os.read(terminal, 4096):
            shown += piece
    assert run.wait(60) == DONE
    assert "3/3 media" in shown.decode(errors="replace")


def start(folder, output, stderr=subprocess.PIPE):
    command = [sys.executable, "-m", "beam_pipeline", "--input", str(folder), "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, "--model", "demo"], env=environment, stdout=pipe, stderr=stderr, text=True)


def wait_for_a_transcript(output, run):
    until = time.monotonic() + 120
    while not list(output.glob("media/*.json")):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)  # polls a file that another process writes


@pytest.mark.long(50)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_ends_at_once_leaves_no_process_and_goes_on_where_it_was(cli, tmp_path, number):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for copy in range(COPIES):
        shutil.copy(SAMPLES / "market.mp4", folder / f"{copy}.mp4")
    run = start(folder, out)
    wait_for_a_transcript(out, run)
    children = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(number)
    run.wait(20)
    if number != signal.SIGKILL:
        assert "Run the same command again" in run.communicate()[1]
    _, alive = psutil.wait_procs(children, timeout=20)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
    committed = len(list(out.glob("_work/asr/*/*/*.json")))
    assert 1 <= committed < COPIES

    done = cli("--input", folder, "--output", out, "--model", "demo")
    assert done.code == DONE, done.err
    assert counters(out)["decode.media"] == COPIES - committed
    rows = transcripts(out)
    assert len({row["transcription"] for row in rows.values()}) == 1
    assert len(rows) == COPIES
