"""Secrets: from the environment, or from where the environment says that they are kept."""

from __future__ import annotations

import base64
import html
import json
import logging
import urllib.parse

import pytest

from tests.servers import QuietHandler, served
from transforms.dead_letters import MediaError, dead_letter
from transforms.records import MediaFile
from transforms.storage import secrets
from transforms.storage.profiles import S3Profile
from transforms.storage.secrets import GuardedRecord, SecretError, masked, redacted, register, register_in, secret
from transforms.translators.openai import KEY_VARIABLE, OpenAISettings, OpenAITranslator
from transforms.work.store import json_bytes

NAME = "projects/my-project/secrets/a-key"
KEYS = {f"{NAME}/versions/latest": "kept-key\n", f"{NAME}/versions/3": "third-key"}


@pytest.fixture
def manager(monkeypatch):
    """Secret Manager's protocol on loopback, and Google's client speaking to it; gives the names it was asked for."""
    asked = []

    class Handler(QuietHandler):
        def do_GET(self):
            name = self.path.removeprefix("/v1/").partition(":access")[0]
            asked.append(name)
            known = KEYS.get(name)
            content = {"payload": {"data": base64.b64encode(known.encode()).decode()}} if known else {
                "error": {"code": 403, "message": f"Permission denied on {name}", "status": "PERMISSION_DENIED"}
            }  # fmt: skip
            self.send_response(200 if known else 403)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

    secretmanager = pytest.importorskip(
        "google.cloud.secretmanager", reason="NOT TESTED: no packages of Google's: pip install '.[dataflow]'"
    )
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials

    with served(Handler) as address:
        options = ClientOptions(api_endpoint=f"http://{address}")
        monkeypatch.setattr(
            secrets,
            "_manager",
            lambda: secretmanager.SecretManagerServiceClient(
                credentials=AnonymousCredentials(), client_options=options, transport="rest"
            ),
        )
        secrets._kept.cache_clear()
        yield asked


def test_a_secret_in_the_environment_is_taken_as_it_is():
    assert secret("A_KEY", {"A_KEY": "sk-projects/secrets"}) == "sk-projects/secrets"
    assert secret("A_KEY", {}) is None


def test_a_name_gives_the_secret_that_is_kept_under_it_asked_for_once(manager):
    assert [secret("A_KEY", {"A_KEY": NAME}) for _ in range(3)] == ["kept-key"] * 3
    assert secret("A_KEY", {"A_KEY": f"{NAME}/versions/3"}) == "third-key"
    assert manager == [f"{NAME}/versions/latest", f"{NAME}/versions/3"]


def test_a_store_and_the_translator_take_kept_secrets(manager, monkeypatch):
    environment = {"BEAM_PIPELINE_STORE_R2_ACCESS_KEY_ID": "me", "BEAM_PIPELINE_STORE_R2_SECRET_ACCESS_KEY": NAME}
    keys = S3Profile("r2").credentials(environment)
    assert keys == {"aws_access_key_id": "me", "aws_secret_access_key": "kept-key"}
    monkeypatch.setenv(KEY_VARIABLE, NAME)
    translator = OpenAITranslator(OpenAISettings("fr", base_url="http://127.0.0.1:9/v1"))
    assert translator._client().api_key == "kept-key"


def test_a_secret_that_is_not_given_is_named_with_what_to_do_and_without_its_value(manager):
    with pytest.raises(SecretError, match=r"A_KEY names projects/p/secrets/other/versions/latest, .* roles/secretm"):
        secret("A_KEY", {"A_KEY": "projects/p/secrets/other"})


KEY = "a/key+of: 'the' <tests>=="


@pytest.fixture(autouse=True)
def forgotten():
    """What a test makes known stays its own."""
    before = set(secrets._registered)
    yield
    secrets._registered.clear()
    secrets._registered.update(before)


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        urllib.parse.quote(KEY),
        urllib.parse.quote_plus(KEY),
        urllib.parse.quote(KEY, safe="").lower().replace("%20", "%20"),
        json.dumps(KEY),
        html.escape(KEY),
        repr(KEY.encode())[2:-1],
        *(base64.b64encode(f"{before}{KEY}:x".encode()).decode() for before in ("", "u", "us", "use")),
        base64.urlsafe_b64encode(KEY.encode()).decode(),
    ],
)
def test_a_secret_in_use_is_struck_out_however_it_is_written(written):
    assert "[hidden]" not in masked(f"it is {written}!")
    register(KEY)
    assert "[hidden]" in masked(f"it is {written}!")
    assert "of" not in masked(written)


def test_a_secret_of_the_environment_is_known_where_a_library_reads_it_by_itself(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "token-of-the-hub")
    monkeypatch.setenv("OPENAI_API_KEY", f"{NAME}")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:word-of-the-proxy@proxy:8080")
    assert masked("token-of-the-hub word-of-the-proxy") == "[hidden] [hidden]"
    assert masked(NAME) == NAME  # where a secret is kept is none


def test_what_is_short_is_no_secret():
    register("", None, "in", "  \n")
    assert masked("in the beginning") == "in the beginning"


def test_passwords_and_signatures_of_a_command_line_are_known():
    register_in(
        ["--input", "s3://id:pass/word+x@bucket/a", "https://s/a?b=1&X-Amz-Signature=0123456789&c=2", "a@b:c"]
    )
    assert masked("pass/word+x 0123456789 1 2 a@b:c") == "[hidden] [hidden] 1 2 a@b:c"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer UNKNOWN-1234567890",
        '{"authorization": "UNKNOWN"}',
        "{'Authorization': 'Basic UNKNOWN1234567890=='}",
        "AWS4-HMAC-SHA256 Credential=UNKNOWN/20260101/us-east-1/s3, SignedHeaders=host, Signature=UNKNOWN",
        "https://s/a?X-Amz-Credential=UNKNOWN&X-Amz-Signature=UNKNOWN&X-Amz-Security-Token=UNKNOWN",
        "https://s/a?X-Goog-Signature=UNKNOWN&sig=UNKNOWN&access_token=UNKNOWN",
        "http://user:UNKNOWN@proxy:8080",
        "Incorrect API key provided: sk-UNKNOWN1234567890. You can find",
        "hf_UNKNOWN1234567890 ya29.UNKNOWN-1 AKIAUNKNOWN1234567890 eyJUNKNOWN1234.UNKNOWN1234.UNKNOWN",
        "-----BEGIN PRIVATE KEY-----\nUNKNOWN\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\\nUNKNOWN",
    ],
)
def test_what_looks_like_a_secret_is_not_told(text):
    assert "UNKNOWN" not in redacted(text)


def test_what_is_told_is_bounded_and_a_secret_at_a_cut_is_not_told_in_part():
    register("secret-of-forty-characters-and-no-one-less")
    for length in range(0, 2500, 7):
        told = redacted("x" * length + "secret-of-forty-characters-and-no-one-less" + "y" * 3000)
        assert len(told) <= 510
        assert "secret" not in told
        assert "one-less" not in told
    assert redacted("an error") == "an error"


def test_what_is_committed_holds_no_secret_and_is_json_still():
    register("language", 'quo"ted-secret')
    content = {"language": "the language", "more": ['a quo"ted-secret']}
    assert json.loads(json_bytes(content)) == {"language": "the [hidden]", "more": ["a [hidden]"]}


def test_a_dead_letter_tells_no_secret_and_is_bounded():
    register("sentinel-of-a-letter")
    media = MediaFile("0", "a.mp3", "/a.mp3", "v")
    for error in (
        MediaError("unreadable", "sentinel-of-a-letter" + "x" * 99_999),
        ValueError("sentinel-of-a-letter"),
    ):
        letter = dead_letter("DecodeAudio", media, error)
        assert "[hidden]" in letter.detail
        assert len(letter.detail) < 4_100
    assert dead_letter("DecodeAudio", media, MediaError("missing", "one\ntwo")).detail == "one\ntwo"


def test_a_record_of_the_log_tells_no_secret_and_commands_no_terminal():
    register("sentinel-of-the-log")
    try:
        raise ValueError("sentinel-of-the-log")
    except ValueError as error:
        traced = (type(error), error, error.__traceback__)
    name = "a\x1b[2J\n12:00:00 ERROR forged"
    record = GuardedRecord("transforms", logging.INFO, "here.py", 1, "%s: %s", (name, "sentinel-of-the-log"), traced)
    text = logging.Formatter("%(message)s").format(record)
    assert text.startswith("a\\x1b[2J\n    12:00:00 ERROR forged: [hidden]\n")
    assert text.endswith("ValueError: [hidden]")
    assert record.exc_info is None
