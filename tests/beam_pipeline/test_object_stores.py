"""The main job between object stores: mixed places, bad days, and nothing secret in what it leaves."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.conftest import SAMPLES, TRUTH, pcm_of, write_channels
from tests.proxy import FAULTS, FaultProxy
from tests.runs import contents, counters, files, letters, place, run, table, timeless, transcripts
from transforms.storage import join

pytestmark = pytest.mark.long(155)

DONE, DEAD_LETTERS = 0, 3
MEDIA = "village.opus"
SAID = " ".join(utterance["text"] for utterance in TRUTH[MEDIA]["utterances"])
FLAGS = ["--model", "demo", "--formats", "json", "srt"]


def upload(base, *names, content=None):
    store, root = place(base)
    for name in names:
        store.put(join(root, name), (SAMPLES / MEDIA).read_bytes() if content is None else content)


def test_inputs_of_three_stores_and_an_output_on_a_fourth(moto_place, gcs_place, ceph_place, tmp_path):
    (_, s3_base), (_, gcs_base), (_, ceph_base) = moto_place, gcs_place, ceph_place
    upload(s3_base, "in/a b+c%20d#e?/हिन्दी.opus", "in/notes.doc")
    upload(gcs_base, "deep/er/g.opus", "deep/g.mp4")
    shutil.copy(SAMPLES / MEDIA, tmp_path / "here.opus")
    manifest = json.dumps({"path": f"{gcs_base}/deep/er/g.opus", "id": "named", "language": "hi"})
    upload(s3_base, "lists/some.jsonl", content=manifest.encode())
    inputs = [f"{s3_base}/in", f"{s3_base}/lists/some.jsonl", f"{gcs_base}/deep/*.mp4", tmp_path / "here.opus"]
    out = f"{ceph_base}/out"
    ended = run("--input", *inputs, "--output", out, *FLAGS)
    assert ended.code == DONE, ended.said
    rows = transcripts(out)
    assert set(rows) == {"a b+c%20d#e?/हिन्दी.opus", "named", "g.mp4", "here.opus"}
    assert {row["transcription"] for row in rows.values()} == {SAID}
    assert "a b+c%20d#e_/हिन्दी.srt" in files(out)
    before = contents(out, "transcripts")
    assert run("--input", *inputs, "--output", out, *FLAGS).code == DONE
    assert "decode.media" not in counters(out)
    assert contents(out, "transcripts") == before


def test_a_long_recording_in_a_store_gives_what_it_gives_on_disk(moto_place, tmp_path):
    """Its chunks are jumped into by ranges; probing, cut points and the kept audio read it too."""
    store, base = moto_place
    path = write_channels(tmp_path / "long.flac", pcm_of(SAMPLES / "five minutes.opus")[:, np.newaxis])
    store.put(join(base, "in/long.flac"), path.read_bytes())
    flags = [*FLAGS, "--chunk_minutes", 2, "--keep_audio"]
    for source, out in ((path, tmp_path / "out"), (f"{base}/in", f"{base}/out")):
        ended = run("--input", source, "--output", out, *flags)
        assert ended.code == DONE, ended.said
        assert counters(out)["decode.chunks"] == 3
    there, here = files(f"{base}/out"), files(tmp_path / "out")
    assert there["long.opus"] == here["long.opus"]
    assert there["long.srt"] == here["long.srt"]
    assert here["long.srt"].count(b"-->") >= len(TRUTH["five minutes.opus"]["utterances"])


def test_nothing_secret_is_in_any_output_or_log(ceph, ceph_place, tmp_path):
    """Ceph checks signatures, so the requests really hold some."""
    _, base = ceph_place
    upload(base, "in/a.opus")
    upload(base, "in/bad.mp3", content=b"noise" * 100)
    gone = "s3://ceph@no-such-bucket-at-all/x.mp3"
    for level in ("DEBUG", "INFO"):
        words = ["--input", f"{base}/in", gone, "--output", f"{base}/out", *FLAGS, "--log_level", level]
        ended = run(*words, "--overwrite", env={"OPENAI_API_KEY": "another-secret"})
        assert ended.code == DEAD_LETTERS, ended.said
        left = {name: content for folder in ("out", "in") for name, content in contents(base, folder).items()}
        everything = [ended.said.encode(), *left.values(), *(name.encode() for name in left)]
        for secret in (ceph.secret, ceph.key_id, "another-secret", "X-Amz-", "Signature", "AWS4-HMAC"):
            assert not [text[:300] for text in everything if secret.encode() in text], (level, secret)
    assert letters(f"{base}/out").keys() == {"bad.mp3", gone}


@pytest.fixture
def bad_day(moto, monkeypatch):
    """A bucket behind a proxy; the environment knows the proxy alone."""
    bucket = moto.new_bucket()
    with FaultProxy(moto.endpoint) as proxy:
        for name, value in {**moto.environment, moto.profile.variable("ENDPOINT"): proxy.url}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(moto.profile.variable("TIMEOUT_S"), "1")
        yield proxy, f"s3://moto@{bucket}"


def test_each_recording_that_cannot_be_read_is_one_dead_letter(bad_day):
    proxy, base = bad_day
    names = [f"in/{fault}.opus" for fault in FAULTS]
    upload(base, *names, "in/good.opus")

    def choose(method, path, number):
        fault = path.rsplit("/", 1)[-1].removesuffix(".opus")
        return fault if method == "GET" and "/in/" in path and fault in FAULTS else ""

    proxy.choose = choose
    ended = run("--input", f"{base}/in", "--output", f"{base}/out", *FLAGS)
    proxy.choose = lambda *_: ""
    assert ended.code == DEAD_LETTERS, ended.said
    assert letters(f"{base}/out") == {name.removeprefix("in/"): "store_failed" for name in names}
    assert {row["transcription"] for row in table(f"{base}/out", "transcripts")} == {SAID}
    assert len(table(f"{base}/out", "dead_letters")) == len(names)

    again = run("--input", f"{base}/in", "--output", f"{base}/out", *FLAGS, "--retry_failed")
    assert again.code == DONE, again.said
    assert counters(f"{base}/out")["decode.media"] == len(names)


def test_faults_that_pass_change_nothing(bad_day, tmp_path):
    proxy, base = bad_day
    upload(base, "in/one.opus", "in/two.opus", "in/three.opus")
    clean = run("--input", f"{base}/in", "--output", tmp_path / "clean", *FLAGS)
    assert clean.code == DONE, clean.said
    kinds = [fault for fault in FAULTS if fault not in ("expired", "denied", "unauthorized", "503")]

    def choose(method, path, number):
        return kinds[sum(proxy.asked.values()) % len(kinds)] if number % 3 == 0 else ""

    proxy.asked.clear()
    proxy.choose = choose
    ended = run("--input", f"{base}/in", "--output", f"{base}/out", *FLAGS, timeout=240)
    proxy.choose = lambda *_: ""
    assert ended.code == DONE, ended.said
    assert proxy.faults.total() > 20
    assert transcripts(f"{base}/out") == transcripts(tmp_path / "clean")
    assert timeless(files(f"{base}/out")) == timeless(files(tmp_path / "clean"))


def test_a_store_that_goes_away_fails_the_run_with_one_message(bad_day):
    proxy, base = bad_day
    upload(base, "in/one.opus")
    proxy.choose = lambda method, path, number: "500" if method == "PUT" and "/asr/" in path else ""
    ended = run("--input", f"{base}/in", "--output", f"{base}/out", *FLAGS)
    assert ended.code == 1
    assert "Traceback" not in ended.said
    assert "the store answered 500" in ended.said
