"""A bad answer costs its own cues and no others; what a server may do wrong, it does here."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.servers import ChatStub, completion, tiny_language_model, transformers_serve, upper
from transforms.translators import openai as openai_translator
from transforms.translators.openai import KEY_VARIABLE, OpenAISettings, OpenAITranslator, matched

TEXTS = [f"वाक्य {number}" for number in range(1, 8)]
GOOD = [f"[{text}]" for text in TEXTS]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret-key")


def translate(answer, texts=TEXTS, **settings):
    with ChatStub(answer) as stub:
        config = OpenAISettings("en", "stub", stub.url, **{"timeout_s": 2.0, "max_retries": 1, **settings})
        return *OpenAITranslator(config).translate(texts, "hi"), stub


def spoiled(spoil):
    """Answers like `upper`, but lets `spoil` change the list of answered cues when more than one was asked for."""

    def answer(cues):
        good = json.loads(upper(cues))["cues"]
        return json.dumps({"cues": spoil(good) if len(cues) > 1 else good})

    return answer


def test_a_good_answer_translates_every_cue_in_one_request():
    found, error, stub = translate(upper)
    assert (found, error) == (GOOD, "")
    assert [len(cues) for cues in stub.asked] == [7]
    assert stub.keys == {"Bearer secret-key"}


def test_long_transcripts_are_asked_for_in_parts():
    found, _, stub = translate(upper, cues_per_request=3)
    assert found == GOOD
    assert [[cue["id"] for cue in cues] for cues in stub.asked] == [[1, 2, 3], [4, 5, 6], [7]]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda cues: cues[::-1], id="reordered"),
        pytest.param(lambda cues: [*cues, {"id": 99, "text": "invented"}], id="invented"),
        pytest.param(lambda cues: [c for c in cues if c["id"] != 3], id="dropped"),
        pytest.param(lambda cues: [*cues, {"id": 3, "text": "again"}], id="repeated"),
        pytest.param(lambda cues: [{**cues[0], "text": "one and two"}, *cues[2:]], id="merged"),
        pytest.param(lambda cues: [{**c, "text": ""} if c["id"] == 2 else c for c in cues], id="emptied"),
        pytest.param(lambda cues: [{**c, "text": 5} if c["id"] == 2 else c for c in cues], id="no text"),
        pytest.param(lambda cues: [c if c["id"] != 4 else "no cue" for c in cues], id="no object"),
        pytest.param(lambda cues: [], id="nothing"),
    ],
)
def test_no_bad_answer_shifts_another_cue(spoil):
    found, _, _ = translate(spoiled(spoil))
    wrong = [(text, want) for text, want in zip(found, GOOD, strict=True) if text not in (want, "one and two")]
    assert wrong == []


def test_a_cue_that_is_never_answered_costs_itself_alone():
    def answer(cues):
        return json.dumps({"cues": [c for c in json.loads(upper(cues))["cues"] if c["id"] != 5]})

    found, error, stub = translate(answer)
    assert found == [*GOOD[:4], None, *GOOD[5:]]
    assert "lacked cues" in error
    assert [[cue["id"] for cue in cues] for cues in stub.asked[1:]] == [[5]]  # asked for again, alone


def test_an_answer_may_stand_in_prose_or_in_a_fence():
    found, error, _ = translate(lambda cues: f"Here you are:\n```json\n{upper(cues)}\n```\nAnything else?")
    assert (found, error) == (GOOD, "")


def test_ids_may_come_back_as_text_and_thoughts_are_not_the_answer():
    def answer(cues):
        good = [{**cue, "id": str(cue["id"])} for cue in json.loads(upper(cues))["cues"]]
        return '<think>{"cues": [no]}</think>' + json.dumps({"cues": good})

    assert translate(answer)[:2] == (GOOD, "")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>a proxy's page</html>",
        b"{not json",
        b"null",
        b'{"choices": null}',
        b'{"choices": [{"message": null}]}',
    ],
)
def test_an_answer_that_is_not_openais_protocol_costs_its_own_cues(body):
    bodies = [body]
    found, error, _ = translate(lambda cues: bodies.pop() if bodies else upper(cues))
    assert (found, error[:12]) == (GOOD, "the server's" if error else "")
    found, error, _ = translate(lambda cues: body, TEXTS[:2])
    assert (found, bool(error)) == ([None, None], True)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a \ud83d b", "a � b"),
        ("\ud83d\ude00", "😀"),
        ("a\x00\x1b\x9b\r\nb", "a\nb"),
        ("\x00\x07 ", None),
        ("x" * 10_000, "x" * 10_000),
        ("x" * 10_001, None),
        ("x" * 1_000_000, None),
        ("it is secret-key", "it is [hidden]"),
        (["a", "list"], None),
        (7, None),
        (True, None),
        (None, None),
        ({"text": "x"}, None),
        (float("nan"), None),
    ],
)
def test_a_text_is_clean_and_bounded_or_none(text, kept):
    found, _, _ = translate(lambda cues: json.dumps({"cues": [{"id": 1, "text": text}]}), TEXTS[:1])
    assert found == [kept]
    "".join(filter(None, found)).encode()


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "content",
    [["a", "list"], {"a": "dict"}, 7, DEEP, '{"cues": ' + DEEP, "<think>" * 500_000, '{"cues": [{"id": 1e999}]}'],
    ids=["list", "dict", "number", "deep", "deeper", "thoughts", "infinite"],
)
def test_content_that_is_no_text_or_no_cues_costs_its_own_cues(content):
    contents = [content]
    found, _, _ = translate(lambda cues: contents.pop() if contents else upper(cues))
    assert found == GOOD
    assert translate(lambda cues: content, TEXTS[:2])[0] == [None, None]


@pytest.mark.parametrize(
    "body",
    [DEEP.encode(), b'{"choices": ' + DEEP.encode(), b"\xff\xfe", b"NaN", b"", b'{"choices": {"0": 1}}'],
    ids=["deep", "deeper", "no UTF-8", "NaN", "nothing", "dict"],
)
def test_bodies_that_are_nothing_cost_their_own_cues(body):
    bodies = [body]
    assert translate(lambda cues: bodies.pop() if bodies else upper(cues))[0] == GOOD
    found, error, _ = translate(lambda cues: body, TEXTS[:2])
    assert (found, bool(error)) == ([None, None], True)


def test_an_endless_answer_is_read_to_a_bound(monkeypatch):
    monkeypatch.setattr(openai_translator, "ANSWER_BYTES", 100_000)
    good = json.dumps(completion(upper([{"id": 1, "text": TEXTS[0]}])))
    assert translate(lambda cues: (good + " " * 200_000).encode(), TEXTS[:1])[0] == [GOOD[0]]
    huge = (good[:-1] + ', "more": "' + "x" * 3_000_000 + '"}').encode()
    assert translate(lambda cues: huge, TEXTS[:1])[0] == [None]
    packed = gzip.compress(huge)
    sent = [(200, {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}, packed)]
    assert translate(lambda cues: sent[0], TEXTS[:1])[0] == [None]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500])
def test_an_error_keeps_its_kind_and_status_and_no_key(status):
    echoed = "Authorization: Bearer secret-key; key secret-key; Bearer another-key-of-somebody " + "x" * 9_000
    found, error, _ = translate(lambda cues: (status, {}, echoed), TEXTS[:2], max_retries=0)
    assert found == [None, None]
    assert f"Error: Error code: {status} - " in error
    assert "secret-key" not in error
    assert "another-key" not in error
    assert len(error) < 600


def test_a_server_that_cannot_be_reached_is_not_asked_for_every_cue():
    found, error, stub = translate(lambda cues: None, cues_per_request=2, max_retries=0)
    assert (found, len(stub.asked)) == ([None] * 7, 1)
    assert "APIConnectionError" in error


def test_a_server_that_refuses_the_key_is_asked_once_and_then_no_more():
    with ChatStub(lambda cues: (401, {}, "wrong key")) as stub:
        translator = OpenAITranslator(OpenAISettings("en", "stub", stub.url, timeout_s=2, max_retries=0))
        for _ in range(5):
            assert translator.translate(TEXTS, "hi")[0] == [None] * 7
    assert len(stub.asked) == 1


def test_a_stopped_translator_sends_nothing():
    with ChatStub(upper) as stub:
        translator = OpenAITranslator(OpenAISettings("en", "stub", stub.url))
        translator.stop()
        assert translator.translate(TEXTS, "hi") == ([None] * 7, "the run was stopped")
    assert stub.asked == []


def test_a_model_that_allows_no_temperature_is_asked_without():
    failures = [(400, {}, "Unsupported value: 'temperature' does not support 0")]
    found, error, stub = translate(lambda cues: failures.pop() if failures else upper(cues))
    assert (found, error, len(stub.asked)) == (GOOD, "", 2)


@pytest.mark.parametrize("content", ["", "no JSON", "{", "[1]", '{"cues": 5}', '{"cues": [{"id": [], "text": "x"}]}'])
def test_nonsense_matches_nothing(content):
    assert matched(content, [1]) == {}


@pytest.mark.parametrize("failure", [(429, {"Retry-After": "0"}, "slow down"), (500, {}, "broken"), None])
def test_a_server_that_fails_once_is_asked_again(failure):
    failures = [failure]
    found, error, _ = translate(lambda cues: failures.pop() if failures else upper(cues))
    assert (found, error) == (GOOD, "")


@pytest.mark.parametrize(
    ("failure", "name"),
    [((401, {}, "wrong key"), "AuthenticationError"), ((500, {}, "broken"), "InternalServerError"), (None, "API")],
)
def test_a_server_that_always_fails_leaves_every_cue_untranslated_and_says_why(failure, name):
    found, error, _ = translate(lambda cues: failure, TEXTS[:2], max_retries=0)
    assert found == [None, None]
    assert name in error
    assert "secret-key" not in error


@pytest.mark.long(9)
def test_a_real_server_is_understood(tmp_path):
    model = tiny_language_model(tmp_path / "model")
    with transformers_serve(tmp_path / "home") as url:
        config = OpenAISettings("en", str(model), url, timeout_s=60, max_retries=0)
        found, error = OpenAITranslator(config).translate(["नमस्ते"], "hi")
    assert (found, error) == ([None], "the answer lacked cues, repeated them, or was no JSON")  # it talks nonsense
