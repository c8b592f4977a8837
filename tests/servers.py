"""Servers on loopback that tests talk to: a scripted stand-in for an LLM, and `transformers serve` itself."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

# cues asked → content, or (status, headers), or None to cut the line
Answer = Callable[[list[dict[str, Any]]], Any]


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """One that writes no line for each request."""

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(handler: type[QuietHandler]) -> Iterator[str]:
    """Answer requests with the handler in threads on loopback; gives host:port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class ChatStub:
    """Answers /chat/completions with what `answer` makes of the cues; keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.asked = answer, list[list[dict[str, Any]]]()
        self.keys: set[str] = set()
        stub = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                stub._handle(self)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> ChatStub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        self.keys.add(request.headers.get("Authorization", ""))
        cues = json.loads(body["messages"][-1]["content"])["cues"]
        self.asked.append(cues)
        answer = self.answer(cues)
        if answer is None:
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        status, headers, content = answer if isinstance(answer, tuple) else (200, {}, answer)
        body = completion(content) if status == 200 else {"error": {"message": content}}
        data = content if isinstance(content, bytes) else json.dumps(body).encode()  # bytes are sent as they are
        request.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(data)


def completion(content: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "stub", "choices": [choice]}


def upper(cues: list[dict[str, Any]]) -> str:
    """A good answer: each cue's text between brackets."""
    return json.dumps({"cues": [{"id": cue["id"], "text": f"[{cue['text']}]"} for cue in cues]})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tiny_language_model(folder: pathlib.Path) -> pathlib.Path:
    """A random causal language model of bytes: it talks nonsense, over a real protocol."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: number for number, character in enumerate([*alphabet, "<s>", "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=258, bos_token_id=256, eos_token_id=257, max_position_embeddings=4096, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@contextlib.contextmanager
def transformers_serve(home: pathlib.Path) -> Iterator[str]:
    """The base URL of a running `transformers serve`."""
    (home / "hub").mkdir(parents=True)
    port = free_port()
    program = pathlib.Path(sys.executable).parent / "transformers"
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    command = [str(program), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, f"http://127.0.0.1:{port}/health", home / "log", environment):
        yield f"http://127.0.0.1:{port}/v1"


@contextlib.contextmanager
def running(
    command: list[str], answers_at: str, log: pathlib.Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """A server in a process of its own, while the block runs; it answers when the block begins."""
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        wait_until_answers(answers_at, server)
        yield
    finally:
        server.terminate()
        server.wait(10)


def wait_until_answers(url: str, server: subprocess.Popen[bytes], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert server.poll() is None, "the server ended before it answered"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.2)
    raise TimeoutError(url)
