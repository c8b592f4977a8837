"""Secrets: from the environment, or from where the environment says that they are kept."""

from __future__ import annotations

import base64
import http.server
import json
import threading

import pytest

from transforms import secrets
from transforms.models.openai_translator import KEY_VARIABLE, OpenAIConfig, OpenAITranslator
from transforms.secrets import SecretError, secret
from transforms.storage.profiles import S3Profile

NAME = "projects/my-project/secrets/a-key"
KEYS = {f"{NAME}/versions/latest": "kept-key\n", f"{NAME}/versions/3": "third-key"}


@pytest.fixture
def manager(monkeypatch):
    """Secret Manager's protocol on loopback, and Google's client speaking to it; gives the names it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
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

        def log_message(self, *_):
            pass

    secretmanager = pytest.importorskip(
        "google.cloud.secretmanager", reason="NOT TESTED: no packages of Google's: pip install '.[dataflow]'"
    )
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = ClientOptions(api_endpoint=f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        secrets,
        "_manager",
        lambda: secretmanager.SecretManagerServiceClient(
            credentials=AnonymousCredentials(), client_options=options, transport="rest"
        ),
    )
    secrets._kept.cache_clear()
    yield asked
    server.shutdown()
    server.server_close()


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
    translator = OpenAITranslator(OpenAIConfig("fr", base_url="http://127.0.0.1:9/v1"))
    assert translator._client().api_key == "kept-key"


def test_a_secret_that_is_not_given_is_named_with_what_to_do_and_without_its_value(manager):
    with pytest.raises(SecretError, match=r"A_KEY names projects/p/secrets/other/versions/latest, .* roles/secretm"):
        secret("A_KEY", {"A_KEY": "projects/p/secrets/other"})
