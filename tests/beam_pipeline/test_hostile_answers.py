"""Servers that repeat what they were told, or answer anything: no key leaves with it, and no answer stays behind."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import urllib.parse
from collections.abc import Iterator

import pytest

from tests.conftest import SAMPLES
from tests.runs import contents, letters, run, table
from tests.servers import ChatStub, QuietHandler, completion, served, upper

pytestmark = pytest.mark.long(20)

DONE, USAGE, DEAD_LETTERS = 0, 2, 3
KEY = "translator/key+sentinel==8472"
SECRET, TOKEN = "store/secret+sentinel==9213", "session/token+sentinel==5526"
ENVIRONMENT = {
    "OPENAI_API_KEY": KEY,
    "BEAM_PIPELINE_STORE_ECHO_ACCESS_KEY_ID": "AKIAECHOECHOECHOECHO",
    "BEAM_PIPELINE_STORE_ECHO_SECRET_ACCESS_KEY": SECRET,
    "BEAM_PIPELINE_STORE_ECHO_SESSION_TOKEN": TOKEN,
    "BEAM_PIPELINE_STORE_ECHO_ATTEMPTS": "1",
}
TABLES = ("transcripts", "segments", "dead_letters")


def everything_written(output, said: str) -> bytes:
    """All that a run has told anybody: its output with its names, the tables unpacked, and what it printed."""
    left = {str(path): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    rows = [repr(table(output, name)) for name in TABLES if (output / name).exists()]
    return b"\n".join([said.encode(), *left.values(), *(text.encode() for text in (*left, *rows))])


def assert_untold(secret: str, everything: bytes) -> None:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    for form in (secret, urllib.parse.quote(secret, safe=""), encoded[:-1], json.dumps(secret)[1:-1]):
        at = everything.find(form.encode())
        assert at < 0, everything[max(0, at - 200) : at + 200]


def echo(cues):
    """The key in a good answer, then behind every kind of error."""
    echoed = (
        f"Bearer {KEY} is {urllib.parse.quote(KEY, safe='')} or {base64.b64encode(b'me:' + KEY.encode()).decode()}"
    )
    if len(cues) > 1:
        return json.dumps({"cues": [{"id": cues[0]["id"], "text": echoed}]})
    status = {2: 400, 3: 500}.get(cues[0]["id"], 401)
    return status, {"Retry-After": "0"}, f"you sent Authorization: {echoed}"


def test_a_translator_that_repeats_its_key_puts_it_nowhere(tmp_path):
    out = tmp_path / "out"
    words = ["--input", SAMPLES / "letter.flac", "--output", out, "--model", "demo", "--translate_to", "fr"]
    answers = iter([echo, lambda cues: (401, {}, f"Incorrect API key provided: {KEY}")])
    for answer in answers:
        with ChatStub(answer) as stub:
            ended = run(*words, "--openai_base_url", stub.url, "--log_level", "DEBUG", env=ENVIRONMENT)
        assert ended.code == DONE, ended.said
        assert stub.keys == {f"Bearer {KEY}"}
        assert_untold(KEY, everything_written(out, ended.said))
        row = table(out, "transcripts")[0]
        assert row["status"] == "partial"
        assert row["translated_segments"][0]["text"] == "Bearer [hidden] is [hidden] or bWU6[hidden]I="
    messages = {problem["message"] for problem in row["problems"]}
    assert messages == {"AuthenticationError: Error code: 401 - Incorrect API key provided: [hidden]"}
    assert "the translator refuses every request: AuthenticationError: Error code: 401" in ended.said


@contextlib.contextmanager
def echoing_store() -> Iterator[str]:
    """Speaks S3 as far as reading goes: what it was sent comes back in errors, in a list of media and in listings."""

    class Handler(QuietHandler):
        def answer(self) -> None:
            sent = "; ".join(f"{name}: {value}" for name, value in self.headers.items())
            asked = re.search("(?:/|prefix=)(400|403|500)", self.path)
            status = int(asked[1]) if asked else 200
            content = f"<Error><Code>Echo{TOKEN}</Code><Message>{sent}</Message></Error>"
            if status == 200:
                content = f"path\n{self.headers['X-Amz-Security-Token']}\n/gone/{TOKEN}.mp3\n"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", '"1"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content.encode())

        do_GET = do_HEAD = answer

    with served(Handler) as address:
        yield f"http://{address}"


def test_a_store_that_repeats_what_it_was_sent_puts_it_nowhere(tmp_path):
    out = tmp_path / "out"
    with echoing_store() as url:
        environment = {**ENVIRONMENT, "BEAM_PIPELINE_STORE_ECHO_ENDPOINT": url}
        places = [f"s3://echo@bucket/{name}" for name in ("400.mp3", "403.mp3", "500.mp3", "list.csv")]
        inputs = ["--input", SAMPLES / "letter.flac", *places]
        ended = run(*inputs, "--output", out, "--model", "demo", "--log_level", "DEBUG", env=environment)
        assert ended.code == DEAD_LETTERS, ended.said
        everything = everything_written(out, ended.said)
        for secret in (SECRET, TOKEN, "AKIAECHOECHOECHOECHO", "AWS4-HMAC", "Signature="):
            assert_untold(secret, everything)
        assert sorted(letters(out).values()) == ["missing", "not_media", "unreadable", "unreadable", "unreadable"]
        details = {row["id"]: row["detail"] for row in table(out, "dead_letters")}
        assert "the store answered 400 Echo[hidden]: " in details[places[0]]
        alone = run("--input", places[0], "--output", tmp_path / "none", "--model", "demo", env=environment)
        full = run(
            "--input", SAMPLES / "letter.flac", "--output", "s3://echo@bucket/500", "--model", "demo", env=environment
        )
    assert (alone.code, full.code) == (USAGE, USAGE)
    assert_untold(TOKEN, (alone.said + full.said).encode())


DEEP = "[" * 200_000
POISON = [
    json.dumps({"cues": [{"id": number, "text": "half a letter \ud83d, \udcff"} for number in (1, 2)]}),
    json.dumps({"cues": [{"id": number, "text": "a\x00b\x1b[31mc\x9bd\r\n\r\n9\r\n--> e"} for number in (1, 2)]}),
    f'{{"cues": {DEEP}',
    f'{{"cues": [{{"id": 1, "text": {DEEP}}}]}}',
    json.dumps({"cues": {"1": "text"}}),
    json.dumps([1, "text"]),
    '{"cues": [{"id": NaN, "text": Infinity}, {"id": 1e999, "text": null}, {"id": {}, "text": []}]}',
    json.dumps({"cues": [{"id": 1, "text": "x" * 100_000}]}),
    '{"cues": [{"id": ' + "9" * 100_000 + ', "text": "x"}]}',
    "<think>" * 100_000,
    ["no", "text"],
    {"type": "text"},
    7,
    True,
]
BODIES = [
    b"<html>a proxy's page</html>",
    b"\xff\xfe\x00\x00 no encoding",
    b"",
    b"null",
    b"NaN",
    DEEP.encode(),
    b'{"choices": ' + DEEP.encode(),
    b'{"choices": [{"message": {"content": "\\ud800"}}]}',
    b'{"choices": {"0": []}}',
    b'{"choices": "text"}',
    b'{"choices": [[]]}',
    b" " * 20_000_000,
]


@pytest.fixture(scope="module")
def poisoned() -> list[bytes]:
    return [*(json.dumps(completion(content)).encode() for content in POISON), *BODIES]


def test_no_answer_ends_a_run_and_a_good_server_makes_all_good(poisoned, tmp_path):
    media = ["letter.flac", "office.mp3", "village.opus", "market.mp4", "school.mkv"]
    words = ["--input", *(SAMPLES / name for name in media), "--model", "demo", "--translate_to", "fr"]
    given = itertools.cycle(poisoned)
    with ChatStub(lambda cues: next(given)) as stub:
        flags = [*words, "--output", tmp_path / "out", "--openai_base_url", stub.url]
        ended = run(*flags, env=ENVIRONMENT)
        assert ended.code == DONE, ended.said
        assert len(stub.asked) > len(poisoned)
        rows = table(tmp_path / "out", "transcripts")
        assert len(rows) == len(media)
        assert {problem["code"] for row in rows for problem in row["problems"]} == {"translation_failed"}
        assert "Traceback" not in ended.said
        assert not b"\x00".join(contents(tmp_path / "out", "media").values()).count(b"\x1b")
        stub.answer = upper
        again = run(*flags, env=ENVIRONMENT)
    assert again.code == DONE, again.said
    rows = table(tmp_path / "out", "transcripts")
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert len(row["translated_segments"]) == len(row["segments"])
        kept = {"half a letter �, �", "ab[31mcd\n\n9\n--> e"}  # what could be read of bad answers
        assert {part["text"] for part in row["translated_segments"]} <= kept | {
            f"[{part['text']}]" for part in row["segments"]
        }
