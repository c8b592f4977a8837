"""A proxy between the program and a store that answers as networks and stores do on a bad day."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import re
import socket
import struct
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable

# method, unquoted path, how often it was asked for before → a fault, or ""
Choose = Callable[[str, str, int], str]

ERRORS = {  # status, S3 code, message
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "denied": (403, "AccessDenied", "Access Denied"),
    "unauthorized": (401, "Unauthorized", "Invalid Credentials"),
}
FAULTS = (
    *ERRORS,
    "reset",  # the connection is reset before anything is answered
    "lost",  # the request is carried out, and its answer lost
    "stall",  # nothing is answered for as long as the client waits
    "short",  # the connection is closed in the middle of the body
    # the body stops in the middle, and the connection stays open
    "hang",
    # a body that is shorter than what was asked for, with a length to match
    "less",
    "more",  # one that is longer
)
LOST = {"reset", "lost", "stall", "short", "hang", "less", "more"}
HOP_BY_HOP = {"connection", "expect", "transfer-encoding", "keep-alive", "proxy-connection", "te", "trailer"}


@dataclasses.dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class FaultProxy:
    """Passes requests on to the target, but for those for which `choose` names a fault.

    `keep_host` leaves the proxy's own address in the request's Host, as a signature needs it; else the target's
    stands there, and the proxy's in the Location of answers.

    Attributes:
        asked: how often each (method, path) was asked for.
        faults: how often each fault was given.
    """

    def __init__(self, target: str, choose: Choose = lambda *_: "", keep_host: bool = True) -> None:
        self.choose = choose
        self.asked: Counter[tuple[str, str]] = Counter()
        self.faults: Counter[str] = Counter()
        self._target, self._keep_host = urllib.parse.urlsplit(target), keep_host
        self._lock = threading.Lock()
        self._stop = threading.Event()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle_one_request()

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return lambda: proxy._handle(self)
                raise AttributeError(name)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = _body(request)
        path = urllib.parse.unquote(request.path.partition("?")[0])
        with self._lock:
            fault = self.choose(request.command, path, self.asked[request.command, path])
            self.asked[request.command, path] += 1
            self.faults[fault] += bool(fault)
        if fault in ERRORS:
            _send(request, _error(*ERRORS[fault]))
            return
        if fault == "stall":
            self._stop.wait(60)
        if fault in ("reset", "stall"):
            _reset(request)
            return
        answer = self._pass_on(request, body)
        if fault == "lost":
            _reset(request)
        elif fault in ("short", "hang"):
            _send(request, answer, part=len(answer.body) // 2)
            if fault == "hang":
                self._stop.wait(60)
            _reset(request)
        elif fault in ("less", "more"):
            wrong = answer.body[: len(answer.body) // 2] if fault == "less" else answer.body + b"x" * 100
            _send(request, dataclasses.replace(answer, body=wrong))
        else:
            _send(request, answer)

    def _pass_on(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> Answer:
        connection = http.client.HTTPConnection(self._target.hostname or "", self._target.port, timeout=60)
        try:
            keep = self._keep_host
            connection.putrequest(request.command, request.path, skip_host=keep, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in HOP_BY_HOP and (keep or name.lower() != "host"):
                    connection.putheader(name, value)
            if body and "content-length" not in {name.lower() for name in request.headers}:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            moved = (self._target.netloc, urllib.parse.urlsplit(self.url).netloc)
            headers = answer.getheaders() if keep else [(k, v.replace(*moved)) for k, v in answer.getheaders()]
            return Answer(answer.status, headers, answer.read())
        finally:
            connection.close()


def _body(request: http.server.BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in request.headers.get("Transfer-Encoding", ""):
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    parts = []
    while size := int(re.split(rb"[;\s]", request.rfile.readline())[0], 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)


def _send(request: http.server.BaseHTTPRequestHandler, answer: Answer, part: int | None = None) -> None:
    request.send_response_only(answer.status)
    for name, value in answer.headers:
        if name.lower() not in {*HOP_BY_HOP, "content-length"}:
            request.send_header(name, value)
    declared = next((value for name, value in answer.headers if name.lower() == "content-length"), None)
    length = declared if request.command == "HEAD" and declared else str(len(answer.body))
    request.send_header("Content-Length", length)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(answer.body[:part])
    request.wfile.flush()


def _error(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'.encode()
    return Answer(status, [("Content-Type", "application/xml")], body)


def _reset(request: http.server.BaseHTTPRequestHandler) -> None:
    """End the connection with a TCP reset instead of a farewell."""
    request.close_connection = True
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
