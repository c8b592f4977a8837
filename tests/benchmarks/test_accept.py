"""The whole command with the demo model on a stand-in for the set: speech of known text, from a hub on loopback."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import threading

import pytest

from benchmarks.acceptance import fleurs
from benchmarks.acceptance.silence import write_silence
from tests.conftest import ROOT, SAMPLES, TRUTH
from tests.runs import letters, transcripts
from transforms.media.ffmpeg_command import find_ffmpeg

pytestmark = pytest.mark.long(75)

AROUND_S = 0.3  # of the pauses around an utterance, which come with it
# What the set says was said, where it differs from what the demo model hears, which is each word as it was said.
CHANGED = {
    ("hi_in", 0): "मुझे मंगलवार को पाना चाहिए",  # another vowel sign: a substitution
    ("hi_in", 1): "मुझे सोमवार को चाहिए",  # a word less: an insertion
    ("hi_in", 2): "क्या मेरा दोस्त शाम को अख़बार ख़रीदेगा नहीं",  # a word more: a deletion
}
LOST = "यह आवाज़ टूटी है"  # of a recording that cannot be decoded: four deletions
HINDI_WORDS = 5 + 4 + 8 + 5 + 4
ENGLISH = ("our teacher will go to the station in the evening", "will mohan buy medicine today")


def recorded(name, utterance, target):
    """An utterance of a sample, as the set has them: 16 kHz in 32-bit floating point."""
    times = ["-ss", str(utterance["start"] - AROUND_S), "-to", str(utterance["end"] + AROUND_S)]
    even = ["-ac", "1", "-ar", "16000", "-c:a", "pcm_f32le", str(target)]
    subprocess.run([find_ffmpeg(), "-v", "error", *times, "-i", str(SAMPLES / name), *even], check=True)
    return round((utterance["end"] - utterance["start"] + 2 * AROUND_S) * fleurs.RATE_HZ)


def write_set(folder, set_name, media):
    """The two files of a language; `media` are (recording, text, samples)."""
    tsv, audio = (folder / path for path in fleurs.paths_of(set_name))
    audio.parent.mkdir(parents=True)
    rows = [["7", path.name, text, text, "", str(samples), "MALE"] for path, text, samples in media]
    tsv.write_text("".join("\t".join(row) + "\n" for row in rows))
    with tarfile.open(audio, "w:gz") as tar:
        for path, _, _ in media:
            tar.add(path, f"test/{path.name}")


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A folder with the layout of the set: four Hindi recordings and a broken one, two English ones."""
    folder, scratch = tmp_path_factory.mktemp("set"), tmp_path_factory.mktemp("recordings")
    for set_name, name, count in (("hi_in", "market.mp4", 4), ("en_us", "school.mkv", 2)):
        media = []
        for number, utterance in enumerate(TRUTH[name]["utterances"][:count]):
            path = scratch / f"{set_name}-{number}.wav"
            text = ENGLISH[number] if set_name == "en_us" else utterance["text"].rstrip("।?")
            media.append((path, CHANGED.get((set_name, number), text), recorded(name, utterance, path)))
        if set_name == "hi_in":
            broken = scratch / "broken.wav"
            broken.write_bytes(b"nothing of a wav" * 100)
            media.append((broken, LOST, 16_000))
        write_set(folder, set_name, media)
    return folder


class Hub:
    """Serves files of the set at its pinned revision as the hub does, and keeps what was asked of it."""

    def __init__(self, folder: pathlib.Path) -> None:
        asked = self.asked = set[str]()
        root = f"/datasets/{fleurs.REPOSITORY}/resolve/{fleurs.REVISION}/"

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                if self.path.startswith("/datasets"):  # the client has questions of its own beside
                    asked.add(self.path.removeprefix(root))
                path = folder / self.path.removeprefix(root)
                content = path.read_bytes() if self.path.startswith(root) and path.is_file() else None
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.send_header("X-Repo-Commit", fleurs.REVISION)
                self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content or b"")

            do_GET = do_HEAD

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def accept(*words, **env):
    command = [sys.executable, str(ROOT / "benchmarks" / "accept.py"), *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def accepted(stand_in, tmp_path_factory):
    """What ran over the set from the hub, told of each recording's language, and the folders it used."""
    output, cache = tmp_path_factory.mktemp("accepted"), tmp_path_factory.mktemp("cache")
    limits = ["--max_wer", "hi_in=0.27", "en_us=0"]
    with Hub(stand_in) as hub:
        done = accept(
            *["--model", "demo", "--output", output, "--results", output, *limits, "--formats", "json"],
            **{"HF_ENDPOINT": hub.url, "HF_HOME": str(cache)},
        )
    return done, output, cache, hub.asked


def results(output):
    [path] = output.glob("*.json")
    return json.loads(path.read_text())


def test_known_errors_give_the_known_figures(accepted):
    done, output, _, _ = accepted
    assert done.returncode == 0, done.stderr
    hindi, english = (results(output)["scores"][name] for name in ("hi_in", "en_us"))
    errors = {"substitutions": 1, "insertions": 1, "deletions": 1 + 4}
    assert {name: hindi[name] for name in errors} == errors
    assert (hindi["words"], hindi["wer"]) == (HINDI_WORDS, 7 / HINDI_WORDS)
    assert (hindi["utterances"], hindi["failed"], hindi["other_script"]) == (5, 1, 0)
    assert (english["words"], english["wer"], english["cer"]) == (15, 0, 0)


def test_the_last_lines_are_the_table_and_say_what_was_accepted(accepted):
    done, *_ = accepted
    *_, verdict, _, _, head, hindi, english = done.stdout.splitlines()
    assert verdict == "ACCEPTED"
    assert head.split()[:4] == ["set", "media", "words", "failed"]
    assert hindi.split()[:6] == ["hi_in", "5", "26", "1", "26.92%", "27.00%"]
    assert english.split()[:6] == ["en_us", "2", "15", "0", "0.00%", "0.00%"]
    assert "words heard where nobody speaks: 0 in 3 media" in done.stdout


def test_the_worst_recordings_are_shown_with_what_was_said_and_heard(accepted):
    done, *_ = accepted
    assert f" 100.0%  hi_in/broken.wav\n   said  {LOST}\n  heard  not_media\n" in done.stdout


def test_the_hub_is_asked_for_the_two_files_of_each_language_at_the_pinned_revision(accepted):
    *_, asked = accepted
    assert asked == {path for name in ("hi_in", "en_us") for path in fleurs.paths_of(name)}


def test_the_main_job_gets_the_language_and_the_flags_that_are_its_own(accepted):
    _, output, *_ = accepted
    assert {row["language"] for row in transcripts(output / "run").values() if row["id"].startswith("hi_in")} == {
        "hi"
    }
    assert letters(output / "run") == {"hi_in/broken.wav": "not_media"}
    assert results(output)["options"]["formats"] == ["json"]


def test_from_the_cache_and_without_the_language_it_is_found_and_above_the_limit_it_is_refused(accepted, tmp_path):
    _, output, cache, _ = accepted
    flags = ["--model", "demo", "--output", output, "--results", tmp_path, "--formats", "json", "--detect"]
    done = accept(*flags, "--max_wer", "hi_in=0.26", "en_us=0", HF_HUB_OFFLINE="1", HF_HOME=str(cache))
    assert done.returncode == 1, done.stderr
    assert "NOT ACCEPTED  hi_in: word error 26.92% is above 26.00%" in done.stdout
    found = results(tmp_path)
    assert (found["accepted"], found["sample"]["detect"]) == (False, True)
    assert [found["scores"][name]["language_right"] for name in ("hi_in", "en_us")] == [4, 2]  # of 5 and 2
    assert done.stdout.splitlines()[-2].split()[-1] == "80.0%"


def test_a_run_that_fails_is_not_accepted(stand_in, tmp_path):
    flags = ["--model", "demo", "--folder", stand_in, "--output", tmp_path, "--sets", "hi_in", "--max_failures", 0]
    done = accept(*flags, "--max_wer", "hi_in=1")
    assert done.returncode == 1
    assert "the run ended with 1, so there is nothing to judge" in done.stderr
    assert "ACCEPTED" not in done.stdout


def test_without_a_network_it_says_what_to_do_before_anything_is_run(tmp_path):
    output = tmp_path / "out"
    done = accept("--model", "demo", "--output", output, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "cache"))
    assert done.returncode == 2
    files = "data/hi_in/test.tsv data/hi_in/audio/test.tar.gz data/en_us/test.tsv data/en_us/audio/test.tar.gz"
    assert f"hf download google/fleurs {files} --repo-type dataset --revision {fleurs.REVISION}" in done.stderr
    assert "give it as --folder FOLDER" in done.stderr
    assert not output.exists()


def test_a_model_that_cannot_be_had_is_told_before_the_set_is_fetched(tmp_path, stand_in):
    flags = ["--model", "openai/whisper-large-v3", "--folder", stand_in, "--output", tmp_path / "out"]
    done = accept(*flags, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "the model openai/whisper-large-v3 is not on this machine" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--modle", "demo"], "did you mean --model?"),
        (["--language", "hi"], "sets --input, --output and --language"),
        (["--input", "mine"], "sets --input, --output and --language"),
        (["--dry_run"], "allows no --dry_run"),
        (["--max_wer", "hi=0.3"], "write as hi_in=0.3"),
        (["--limit", "-1"], "give 0 or more"),
        (["--sets", "mr_in"], "invalid choice"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_fetched(words, message, tmp_path):
    done = accept("--output", tmp_path / "out", "--folder", tmp_path, *words)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_media_without_speech_stay_as_they_are_so_that_a_run_finds_them_done(tmp_path):
    names = write_silence(tmp_path)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in names}
    assert write_silence(tmp_path) == names
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in names} == before
